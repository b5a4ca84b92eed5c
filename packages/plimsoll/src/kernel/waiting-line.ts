import { systemClock, type Clock } from './clock.ts';
import { currentTick, tickMs, type Tick } from './coarse-clock.ts';
import { contextWatch, createContextWatch, type ContextWatch } from './context-watch.ts';
import type { RequestContext } from './context.ts';

/**
 * `fifo`: first come, first served. `newest-first-when-full`: the same until the line is full, then the newest
 * first until it is at most half full: under overload those who came last are served in time, rather than all late.
 */
export type WaitingOrder = 'fifo' | 'newest-first-when-full';
export const waitingOrders: readonly WaitingOrder[] = ['fifo', 'newest-first-when-full'];

/** `late`: waited as long as one may. `ended`: the deadline of its context passed, or its caller went away. */
export type DropReason = 'late' | 'ended';

/** One place in a line. */
export interface Place<Item> {
  readonly item: Item;
  /** When it joined. What it has waited counts from the end of the tick on. */
  readonly joined: Tick;
  /** That of who waits; undefined where there is none. */
  readonly context: RequestContext | undefined;
  previous: Place<Item> | undefined;
  next: Place<Item> | undefined;
  waiting: boolean;
  unwatch: (() => void) | undefined;
}

export interface WaitingLineOptions<Item> {
  /** The most that may wait. */
  readonly max: number;
  readonly maxWaitMs: number;
  readonly order: WaitingOrder;
  readonly clock: Clock;
  /** Told of each that is dropped, when it has left the line. Must not throw. */
  readonly onDropped: (place: Place<Item>, reason: DropReason) => void;
  /** Told after some were dropped, other than by `turn` and `full`: somebody else may be next. */
  readonly onShorter: () => void;
}

/**
 * Those who wait for a turn: at most `max` of them, at most `maxWaitMs` each, and only as long as their context
 * lives. Joining, leaving and being dropped take constant time. Places are in the order they came, which is the
 * order in which they are late, so one watched deadline serves the whole line.
 */
export class WaitingLine<Item> {
  readonly #options: WaitingLineOptions<Item>;
  readonly #watch: ContextWatch;
  /** Whether a tick is too long for these waits. */
  readonly #exact: boolean;
  #first: Place<Item> | undefined;
  #last: Place<Item> | undefined;
  #length = 0;
  /** Has been full and is not yet half empty. */
  #saturated = false;
  /** Whose turn it is, found by `turn`; it stays so until it leaves, whoever joins. */
  #chosen: Place<Item> | undefined;
  #sweeping = false;

  constructor(options: WaitingLineOptions<Item>) {
    this.#options = options;
    this.#watch = options.clock === systemClock ? contextWatch : createContextWatch(options.clock);
    this.#exact = options.clock !== systemClock || options.maxWaitMs < tickMs * 16;
  }

  get length(): number {
    return this.#length;
  }

  /** How long the oldest has waited; 0 when nobody waits. */
  get oldestMs(): number {
    if (this.#first === undefined) return 0;
    return this.#options.clock.monotonicMs() - this.#first.joined.beganAtMs;
  }

  /** Whether nobody may join. Who is late gives its place up. */
  full(): boolean {
    if (this.#length < this.#options.max) return false;
    this.#dropLate(this.#options.clock.monotonicMs());
    return this.#length >= this.#options.max;
  }

  /** Ask `full` before. The context, in which it is called, must not have ended. */
  join(item: Item, context: RequestContext | undefined): void {
    const previous = this.#last;
    const place: Place<Item> = {
      item,
      joined: this.#exact ? momentOf(this.#options.clock) : currentTick(),
      context,
      previous,
      next: undefined,
      waiting: true,
      unwatch: undefined,
    };
    if (previous === undefined) this.#first = place;
    else previous.next = place;
    this.#last = place;
    this.#length += 1;
    if (this.#length >= this.#options.max) this.#saturated = true;
    if (context !== undefined) place.unwatch = this.#watch.watch(context, () => this.#end(place));
    if (!this.#sweeping) this.#sweepAt(this.#lateAtMs(place));
  }

  /** Whose turn it is. Drops those whose turn it would be and who are late or have ended. */
  turn(): Place<Item> | undefined {
    if (this.#first === undefined) return undefined;
    const { clock, order } = this.#options;
    // Read when it is needed, once.
    let nowMs: number | undefined;
    for (;;) {
      const newest = order === 'newest-first-when-full' && this.#saturated;
      const place = this.#chosen ?? (newest ? this.#last : this.#first);
      if (place === undefined) return undefined;
      const { joined, context } = place;
      if (joined.endedAtMs !== Infinity || context !== undefined) {
        nowMs ??= clock.monotonicMs();
        if (this.#isLate(place, nowMs)) {
          this.#drop(place, 'late');
          continue;
        }
        if (context !== undefined && nowMs >= context.deadlineAtMs) {
          this.#drop(place, 'ended');
          continue;
        }
      }
      this.#chosen = place;
      return place;
    }
  }

  /** Its turn has come. */
  leave(place: Place<Item>): void {
    const { previous, next } = place;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    place.previous = undefined;
    place.next = undefined;
    place.waiting = false;
    place.unwatch?.();
    if (this.#chosen === place) this.#chosen = undefined;
    this.#length -= 1;
    if (this.#length * 2 <= this.#options.max) this.#saturated = false;
  }

  #isLate({ joined }: Place<Item>, nowMs: number): boolean {
    return nowMs >= joined.endedAtMs + this.#options.maxWaitMs;
  }

  /** From then on it is late; not before, but maybe a little later. */
  #lateAtMs({ joined }: Place<Item>): number {
    const { beganAtMs, endedAtMs } = joined;
    return (endedAtMs === Infinity ? beganAtMs + tickMs : endedAtMs) + this.#options.maxWaitMs;
  }

  #drop(place: Place<Item>, reason: DropReason): void {
    this.leave(place);
    this.#options.onDropped(place, reason);
  }

  #end(place: Place<Item>): void {
    if (!place.waiting) return;
    this.#drop(place, 'ended');
    this.#options.onShorter();
  }

  #dropLate(nowMs: number): void {
    for (let place = this.#first; place !== undefined; place = this.#first) {
      if (!this.#isLate(place, nowMs)) return;
      this.#drop(place, 'late');
    }
  }

  /** Left as it is when the line gets shorter: it then fires for nothing, at most once in `maxWaitMs`. */
  #sweepAt(atMs: number): void {
    this.#sweeping = true;
    this.#watch.watchDeadline(atMs, () => {
      this.#sweeping = false;
      const before = this.#length;
      this.#dropLate(this.#options.clock.monotonicMs());
      if (this.#first !== undefined) this.#sweepAt(this.#lateAtMs(this.#first));
      // When it fires for nothing it gives no turn: who is next must not hang on a timer.
      if (this.#length < before) this.#options.onShorter();
    });
  }
}

function momentOf(clock: Clock): Tick {
  const nowMs = clock.monotonicMs();
  return { beganAtMs: nowMs, endedAtMs: nowMs };
}
