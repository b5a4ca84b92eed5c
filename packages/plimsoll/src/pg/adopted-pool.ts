import type pg from 'pg';
import { createContextWatch, type ContextWatch } from '../database/context-watch.ts';
import type { Pool, PoolState } from '../database/pool.ts';
import { translateFailure } from '../database/failures.ts';
import { poolWaits } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import { assertAlive, currentContext, endOf, type RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';

export interface AdoptedPool extends Pool {
  readonly contextWatch: ContextWatch;
}

/** A pool that somebody else made and closes, as one of ours; its `close` leaves it open. */
export function adoptPool(pool: pg.Pool, server: string, scope: object): AdoptedPool {
  const contextWatch = createContextWatch();
  const state = (): PoolState => ({
    inUse: pool.totalCount - pool.idleCount,
    open: pool.totalCount,
    waiting: pool.waitingCount,
    max: pool.options.max,
  });

  async function acquire(): Promise<pg.PoolClient> {
    const context = currentContext();
    if (context !== undefined) assertAlive(context, `connection to ${server}`);
    const startedMs = systemClock.monotonicMs();
    let failure: unknown;
    try {
      return guarded(await (context === undefined ? pool.connect() : connectWithin(context)));
    } catch (error) {
      failure = describe(error, systemClock.monotonicMs() - startedMs);
      throw failure;
    } finally {
      if (poolWaits.hasSubscribers) {
        poolWaits.publish({
          scope,
          server,
          waitMs: systemClock.monotonicMs() - startedMs,
          ...state(),
          ...(failure === undefined ? {} : { error: failure }),
        });
      }
    }
  }

  /** The caller's end ends the wait, also where the pool has no limit of its own; a late connection goes back. */
  function connectWithin(context: RequestContext): Promise<pg.PoolClient> {
    const { promise, resolve, reject } = Promise.withResolvers<pg.PoolClient>();
    let ended: PlimsollError | undefined;
    const unwatch = contextWatch.watch(context, () => {
      ended = endOf(context, `waiting for a connection to ${server}`);
      reject(ended ?? new PlimsollError('PL_ABORTED', `waiting for a connection to ${server}`));
    });
    pool.connect().then(
      (client) => {
        unwatch?.();
        if (ended === undefined) resolve(client);
        else client.release();
      },
      (error: unknown) => {
        unwatch?.();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
    return promise;
  }

  function describe(error: unknown, waitedMs: number): unknown {
    if (error instanceof PlimsollError) return error;
    if (error instanceof Error && /timeout exceeded when trying to connect/i.test(error.message)) {
      const now = state();
      return new PlimsollError(
        'PL_POOL_TIMEOUT',
        `no connection to ${server} within ${Math.round(waitedMs)} ms: ${now.inUse} of ${now.max} in use, ${now.waiting} waiting; shorten transactions or raise max of your pool`,
        { cause: error, data: { server, ...now } },
      );
    }
    return translateFailure(error, server);
  }

  async function close(): Promise<void> {
    contextWatch.close();
  }

  return { server, contextWatch, acquire, state, close };
}

/**
 * A backend that ends while its client is checked out reports on the client, and without a listener the
 * process dies. Ours is there only while we hold the client; the pool makes `release` anew at each checkout.
 */
function guarded(client: pg.PoolClient): pg.PoolClient {
  const ignore = (): void => undefined;
  const release = client.release.bind(client);
  client.on('error', ignore);
  client.release = (broken) => {
    client.off('error', ignore);
    release(broken);
  };
  return client;
}
