import type { Queryable } from '../database/statements.ts';
import { askedMs, backoffMs } from '../durable/backoff.ts';
import { createLoop, type Loop } from '../durable/loop.ts';
import type { Purger } from '../http-cache/purger.ts';
import { background } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { extendLifecycle } from '../kernel/lifecycle.ts';
import { finishPurges, putOffPurges, takeDuePurges } from './purge-rows.ts';

export interface PurgeLoopOptions {
  readonly database: Pick<Queryable, 'query' | 'execute'>;
  readonly purger: Purger;
  readonly scope: object;
  readonly pollMs: number;
  readonly againMs: number;
  readonly leaseMs: number;
  readonly clock?: Clock;
}

/** Rows of one round, at most: they are purged together. */
const most = 500;
/** Between failed purges; a cache that asks to be left alone for longer is. */
const backoff = { baseMs: 500, maxMs: 60_000 };

export interface PurgeLoop extends Loop {
  /** Gives up the purge under way; before `stop`, which would wait for it. */
  readonly giveUp: () => void;
}

/** Purges one cache of what is due. A purger that fails delays none of the others. */
export function createPurgeLoop(options: PurgeLoopOptions): PurgeLoop {
  const { database, purger, scope, pollMs, againMs, leaseMs, clock = systemClock } = options;
  // Set by a failure: until then the cache is left alone, whatever becomes due.
  let restUntilMs = 0;
  let failures = 0;
  // Of the round under way.
  let ending = new AbortController();

  async function round(): Promise<boolean> {
    if (clock.monotonicMs() < restUntilMs) return false;
    const due = await takeDuePurges(database, purger.name, leaseMs, most);
    if (due.length === 0) return false;
    const ids = due.map(({ id }) => id);
    try {
      await purger.purge([...new Set(due.flatMap(({ tags }) => tags))], ending.signal);
    } catch (error) {
      if (ending.signal.aborted) {
        await putOffPurges(database, ids, 0);
        return false;
      }
      failures += 1;
      const waitMs = Math.max(askedMs(error), backoffMs(failures, backoff, Math.random));
      restUntilMs = clock.monotonicMs() + waitMs;
      background.publish({ scope, what: `purging ${purger.name}`, error });
      await putOffPurges(database, ids, waitMs);
      return false;
    }
    failures = 0;
    await finishPurges(database, ids, againMs);
    return due.length === most;
  }

  const loop = createLoop({
    name: `purges of ${purger.name}`,
    scope,
    pollMs,
    round,
    onStart() {
      ending = new AbortController();
      return Promise.resolve();
    },
  });
  return extendLifecycle(loop, {
    wake: loop.wake,
    giveUp: () => ending.abort(new PlimsollError('PL_ABORTED', `the purges of ${purger.name} were stopped`)),
  });
}
