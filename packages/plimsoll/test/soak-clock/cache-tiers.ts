import pg from 'pg';
import { postgresBus, postgresCacheStore, type InvalidationBus, type SharedStore } from 'plimsoll/cache';
import { redisBus, redisCacheStore } from 'plimsoll/redis';
import { createClient } from 'redis';
import type { ProcessSettings } from './protocol.ts';

export interface CacheTiers {
  readonly shared: SharedStore;
  readonly bus: InvalidationBus;
  close(): Promise<void>;
}

/** Of Redis, or of PostgreSQL where there is none. */
export async function cacheTiers({ redisUrl, cacheUrl }: ProcessSettings): Promise<CacheTiers> {
  if (redisUrl === undefined) {
    const pool = new pg.Pool({ connectionString: cacheUrl, max: 6 });
    pool.on('error', () => undefined);
    pool.on('connect', (client) => client.on('error', () => undefined));
    return {
      shared: postgresCacheStore(pool),
      bus: postgresBus({ client: pool, listenUrl: cacheUrl }),
      close: () => pool.end(),
    };
  }
  const client = createClient({
    url: redisUrl,
    disableOfflineQueue: true,
    socket: { reconnectStrategy: 100, connectTimeout: 1_000 },
  });
  const subscriber = client.duplicate();
  for (const each of [client, subscriber]) {
    each.on('error', () => undefined);
    await each.connect();
  }
  return {
    shared: redisCacheStore(client),
    bus: redisBus({ client, subscriber }),
    close: async () => {
      client.destroy();
      subscriber.destroy();
      await Promise.resolve();
    },
  };
}
