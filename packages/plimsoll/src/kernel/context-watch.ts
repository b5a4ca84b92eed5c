import type { RequestContext } from './context.ts';
import { systemClock, type Clock } from './clock.ts';
import { LinkedList, type Link } from './linked-list.ts';

/** Tells, while something is under way for a context, that the context has ended. */
export interface ContextWatch {
  /**
   * `onEnd` runs at most once, when the deadline passes or the context is cancelled. Call the returned function
   * when the work is done. Undefined for a context that nothing can end: then there is nothing to watch.
   */
  watch(context: RequestContext, onEnd: () => void): (() => void) | undefined;
  /** The deadline alone. */
  watchDeadline(deadlineAtMs: number, onEnd: () => void): () => void;
  close(): void;
}

interface Watched {
  readonly deadlineAtMs: number;
  readonly onEnd: () => void;
}

/** A timer set for longer than this fires at once. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * One timer for all that is watched, set for the earliest deadline: a statement costs an entry in a set, not a
 * timer of its own.
 */
export function createContextWatch(clock: Clock = systemClock): ContextWatch {
  const withDeadline = new LinkedList<Watched>();
  let timer: NodeJS.Timeout | undefined;
  // When the timer fires; it may fire for nothing, as work that ends in time leaves it as it is.
  let firesAtMs = Infinity;

  function arm(atMs: number): void {
    if (atMs >= firesAtMs) return;
    clearTimeout(timer);
    firesAtMs = atMs;
    const inMs = Math.ceil(atMs - clock.monotonicMs());
    timer = setTimeout(sweep, Math.min(Math.max(inMs, 0), longestTimerMs)).unref();
  }

  function sweep(): void {
    firesAtMs = Infinity;
    const nowMs = clock.monotonicMs();
    let earliest = Infinity;
    for (let link = withDeadline.first; link !== undefined;) {
      const { item, next } = link;
      if (item.deadlineAtMs <= nowMs) {
        withDeadline.remove(link);
        item.onEnd();
      } else earliest = Math.min(earliest, item.deadlineAtMs);
      link = next;
    }
    arm(earliest);
  }

  function add(deadlineAtMs: number, onEnd: () => void): Link<Watched> {
    const link = withDeadline.add({ deadlineAtMs, onEnd });
    arm(deadlineAtMs);
    return link;
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
      const timed = deadlineAtMs === Infinity ? undefined : add(deadlineAtMs, once);
      const listening = cancellation?.add(once);
      return () => {
        if (listening !== undefined) cancellation?.remove(listening);
        if (timed !== undefined) withDeadline.remove(timed);
      };
    },
    watchDeadline(deadlineAtMs, onEnd) {
      const link = add(deadlineAtMs, onEnd);
      return () => withDeadline.remove(link);
    },
    close() {
      clearTimeout(timer);
    },
  };
}

/** That of the process. Its timer keeps no process alive. */
export const contextWatch: ContextWatch = createContextWatch();
