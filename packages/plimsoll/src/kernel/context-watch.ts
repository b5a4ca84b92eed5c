import type { RequestContext } from './context.ts';
import { systemClock, type Clock } from './clock.ts';
import { LinkedList, type Link } from './linked-list.ts';

/** Something that is told when its time is up. */
export interface Timed {
  /** On the monotonic clock; must not change while it is watched. */
  readonly deadlineAtMs: number;
  /** Must not throw. */
  onDeadline(): void;
}

/** Tells, while something is under way for a context, that the context has ended. */
export interface ContextWatch {
  /**
   * `onEnd` runs at most once, when the deadline passes or the context is cancelled. Call the returned function
   * when the work is done. Undefined for a context that nothing can end: then there is nothing to watch.
   */
  watch(context: RequestContext, onEnd: () => void): (() => void) | undefined;
  /** The deadline alone. */
  watchDeadline(deadlineAtMs: number, onEnd: () => void): () => void;
  /** The deadline alone, without a closure; to be given to `remove`. */
  add(timed: Timed): Link<Timed>;
  /** The same for what is its own link. */
  addLink(link: Link<Timed>): void;
  remove(link: Link<Timed>): void;
  close(): void;
}

/** A timer set for longer than this fires at once. */
const longestTimerMs = 2 ** 31 - 1;
/** What falls due within the same 16 ms shares a list. */
const slotMs = 16;
/** One turn of the wheel, 8.2 s; a power of two. What is due later stays in its slot for more than one turn. */
const slots = 512;

const tickOf = (atMs: number): number => Math.floor(atMs / slotMs);

/**
 * One timer for all that is watched, and a timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing
 * Wheels", 1987): to watch costs an entry in a list, and when the timer fires, only the lists that are due are
 * looked through, not everything that is under way.
 */
export function createContextWatch(clock: Clock = systemClock): ContextWatch {
  const wheel = Array.from({ length: slots }, () => new LinkedList<Timed>());
  const slotAt = (tick: number): LinkedList<Timed> => wheel[tick & (slots - 1)] as LinkedList<Timed>;
  // Not what a test has put in their place since: a timer that is dropped with it would stop this watch for good.
  const { setTimeout: later, clearTimeout: cancel } = globalThis;
  let timer: NodeJS.Timeout | undefined;
  // When the timer fires; it may fire for nothing, as work that ends in time leaves it as it is.
  let firesAtMs = Infinity;
  // All before this tick has been told.
  let fromTick = tickOf(clock.monotonicMs());

  function arm(atMs: number): void {
    if (atMs >= firesAtMs) return;
    cancel(timer);
    firesAtMs = atMs;
    const inMs = Math.ceil(atMs - clock.monotonicMs());
    timer = later(sweep, Math.min(Math.max(inMs, 0), longestTimerMs)).unref();
  }

  function sweep(): void {
    firesAtMs = Infinity;
    const nowMs = clock.monotonicMs();
    const nowTick = tickOf(nowMs);
    const firstTick = Math.max(fromTick, nowTick - slots + 1);
    fromTick = nowTick;
    for (let tick = firstTick; tick <= nowTick; tick += 1) tellDue(slotAt(tick), nowMs);
    armNext(nowTick);
  }

  function tellDue(list: LinkedList<Timed>, nowMs: number): void {
    // Collected first: whoever is told may remove others.
    let due: Link<Timed>[] | undefined;
    for (let link = list.first; link !== undefined; link = link.next)
      if (link.item.deadlineAtMs <= nowMs) (due ??= []).push(link);
    if (due === undefined) return;
    for (const link of due) {
      const isRemoved = link.previous === undefined && list.first !== link;
      if (isRemoved) continue;
      list.remove(link);
      link.item.onDeadline();
    }
  }

  /** For the earliest of this slot, or for the beginning of the next slot that holds anything. */
  function armNext(nowTick: number): void {
    for (let tick = nowTick; tick < nowTick + slots; tick += 1) {
      let link = slotAt(tick).first;
      if (link === undefined) continue;
      if (tick > nowTick) return arm(tick * slotMs);
      let earliest = Infinity;
      for (; link !== undefined; link = link.next) earliest = Math.min(earliest, link.item.deadlineAtMs);
      if (tickOf(earliest) <= tick) return arm(earliest);
    }
    // Only this slot may hold anything, and that is due in a later turn.
    if (slotAt(nowTick).first !== undefined) arm((nowTick + slots) * slotMs);
  }

  function addLink(link: Link<Timed>): void {
    const { deadlineAtMs } = link.item;
    const tick = tickOf(deadlineAtMs);
    // Due before it is watched: the next sweep begins there.
    if (tick < fromTick) fromTick = tick;
    slotAt(tick).addLink(link);
    arm(deadlineAtMs);
  }

  function add(timed: Timed): Link<Timed> {
    const link: Link<Timed> = { item: timed, previous: undefined, next: undefined };
    addLink(link);
    return link;
  }

  function remove(link: Link<Timed>): void {
    slotAt(tickOf(link.item.deadlineAtMs)).remove(link);
  }

  return {
    watch({ deadlineAtMs, cancellation }, onEnd) {
      if (deadlineAtMs === Infinity && cancellation === undefined) return undefined;
      // Both may come, in either order.
      let told = false;
      const once = (): void => {
        if (told) return;
        told = true;
        onEnd();
      };
      const timed = deadlineAtMs === Infinity ? undefined : add({ deadlineAtMs, onDeadline: once });
      const listening = cancellation?.add(once);
      return () => {
        if (listening !== undefined) cancellation?.remove(listening);
        if (timed !== undefined) remove(timed);
      };
    },
    watchDeadline(deadlineAtMs, onEnd) {
      const link = add({ deadlineAtMs, onDeadline: onEnd });
      return () => remove(link);
    },
    add,
    addLink,
    remove,
    close() {
      cancel(timer);
    },
  };
}

/** That of the process. Its timer keeps no process alive. */
export const contextWatch: ContextWatch = createContextWatch();
