import type pg from 'pg';
import { pooled, type Pool } from '../database/pool.ts';

/** A pool that somebody else made and closes, as one of ours; its `close` leaves it open. */
export function adoptPool(pool: pg.Pool, server: string, scope: object): Pool {
  const { max } = pool.options;
  const ours = pooled(pool, { server, scope, max, remedy: 'raise max of your pool' });
  return {
    ...ours,
    acquire: async () => guarded(await ours.acquire()),
    close: async () => undefined,
  };
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
