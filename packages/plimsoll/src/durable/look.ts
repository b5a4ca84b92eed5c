import { background } from '../kernel/channels.ts';
import type { Clock } from '../kernel/clock.ts';

/** A look is followed by so many times as long without one, so that it costs a twentieth of a server at most. */
const pauseFactor = 20;

export interface LookOptions {
  readonly scope: object;
  /** In messages. */
  readonly what: string;
  readonly clock: Clock;
  /** From the beginning of one to that of the next, at least. */
  readonly everyMs: number;
  /** Returns how long it took the server, in milliseconds, where that may be long. */
  readonly look: () => Promise<number>;
}

/**
 * What is looked at now and then, beside the other work: the less often, the longer it takes. What walks over all that
 * is there walks over all that was there, too, while a long transaction keeps the server from removing it.
 */
export interface Look {
  /** Begins one where it is time for it. */
  beginWhenDue(): void;
  /** The next one is due at once. */
  due(): void;
  /** Resolves when none is under way. */
  idle(): Promise<void>;
}

export function createLook({ scope, what, clock, everyMs, look }: LookOptions): Look {
  let nextAtMs = -Infinity;
  let underWay: Promise<void> | undefined;

  async function run(): Promise<void> {
    nextAtMs = clock.monotonicMs() + everyMs;
    try {
      const tookMs = await look();
      nextAtMs = Math.max(nextAtMs, clock.monotonicMs() + tookMs * pauseFactor);
    } catch (error) {
      background.publish({ scope, what, error });
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
