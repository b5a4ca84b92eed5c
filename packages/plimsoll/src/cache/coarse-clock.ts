import { systemClock, type Clock } from '../kernel/clock.ts';
import { tickMs } from './entry.ts';

/** How many readings may share one when the event loop does not turn. */
const mostReadings = 1_024;

/**
 * The monotonic clock in ticks, read once in a tick: a reading costs as much as everything else of a hit. A clock that
 * was injected is read each time.
 */
export class CoarseClock {
  readonly #clock: Clock;
  readonly #coarse: boolean;
  #tick = 0;
  // Readings until the clock is read again; 0 after a tick.
  #left = 0;
  readonly #forget = (): void => {
    this.#left = 0;
  };

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#coarse = clock === systemClock;
  }

  /** Rounded up, so that what has ended has ended. */
  tick(): number {
    if (this.#left > 0) {
      this.#left -= 1;
      return this.#tick;
    }
    return this.#read();
  }

  #read(): number {
    const tick = Math.ceil(this.#clock.monotonicMs() / tickMs);
    if (!this.#coarse) return tick;
    this.#tick = tick;
    if (this.#left === 0) setTimeout(this.#forget, tickMs).unref();
    this.#left = mostReadings;
    return tick;
  }
}
