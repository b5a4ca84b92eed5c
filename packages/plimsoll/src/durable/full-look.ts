import { background } from '../kernel/channels.ts';
import type { Clock } from '../kernel/clock.ts';

/** A look at everything is followed by so many times as long without one, so that it costs a twentieth of a server. */
const pauseFactor = 20;

export interface FullLookOptions {
  readonly scope: object;
  readonly clock: Clock;
  /** From the beginning of one to that of the next, at least. */
  readonly everyMs: number;
  /** Returns how long it took the server, in milliseconds. */
  readonly look: () => Promise<number>;
}

/**
 * What walks over all that is there, and over all that was there while a long transaction keeps the server from
 * removing it: beside the other work, and the less often the longer it takes.
 */
export interface FullLook {
  /** Begins one where it is time for it. */
  beginWhenDue(): void;
  /** The next one is due at once. */
  due(): void;
  /** Resolves when none is under way. */
  idle(): Promise<void>;
}

export function createFullLook({ scope, clock, everyMs, look }: FullLookOptions): FullLook {
  let nextAtMs = -Infinity;
  let underWay: Promise<void> | undefined;

  async function run(): Promise<void> {
    nextAtMs = clock.monotonicMs() + everyMs;
    try {
      const tookMs = await look();
      nextAtMs = Math.max(nextAtMs, clock.monotonicMs() + tookMs * pauseFactor);
    } catch (error) {
      background.publish({ scope, what: 'looking at all tasks', error });
    } finally {
      underWay = undefined;
    }
  }

  return {
    beginWhenDue() {
      if (underWay === undefined && clock.monotonicMs() >= nextAtMs) underWay = run();
    },
    due() {
      nextAtMs = -Infinity;
    },
    idle: async () => await underWay,
  };
}
