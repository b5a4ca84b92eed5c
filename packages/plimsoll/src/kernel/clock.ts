import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';

/** Time as the code sees it. Injected, so that tests decide what time it is. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. May jump; only for what people read. */
  now(): number;
  /** Monotonic milliseconds; for durations and deadlines. */
  monotonicMs(): number;
  /** Resolves after `ms`, or at once when `signal` aborts; never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, signal ? { signal } : undefined);
    } catch {
      // The only rejection is the abort, which ends the wait.
    }
  },
};
