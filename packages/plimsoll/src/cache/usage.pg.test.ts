import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { sql } from '../database/sql.ts';
import { createContext, runInContext } from '../kernel/context.ts';
// #region rows
import pg from 'pg';
import { fromPool } from 'plimsoll/pg';
import { migrate } from 'plimsoll/database';
import {
  cacheMigrations,
  cachePolicy,
  createCache,
  createInvalidationRelay,
  postgresCacheStore,
  recordInvalidation,
} from 'plimsoll/cache';

async function open(url: string) {
  const pool = new pg.Pool({ connectionString: url, max: 5 });
  const database = fromPool(pool);
  await migrate(database, [cacheMigrations]);
  // A pool of its own, so that questions to the cache do not take the connections of the work.
  const forCache = new pg.Pool({ connectionString: url, max: 3 });
  const cache = createCache({ name: 'shop', process: false, shared: postgresCacheStore(forCache) });
  const relay = createInvalidationRelay({ database, caches: [cache] });
  await relay.start();

  async function rename(id: number, name: string): Promise<void> {
    const client = await pool.connect();
    try {
      await client.query('begin');
      await client.query('update product set name = $2 where id = $1', [id, name]);
      const recorded = await recordInvalidation(client, 'shop', { tags: [`product:${id}`] });
      await client.query('commit');
      await relay.published(recorded);
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  }
  // #endregion
  return { pool, forCache, cache, relay, rename };
}

// #region bus
import { postgresBus } from 'plimsoll/cache';

/** Kept in each process too; each hears within milliseconds what the others invalidate, and keeps nothing while it cannot. */
function inEachProcess(pool: pg.Pool, url: string) {
  const bus = postgresBus({ client: pool, listenUrl: url });
  return createCache({ name: 'rates', processes: 'several', shared: postgresCacheStore(pool), bus });
}
// #endregion

// #region truth
import { invalidationTruth } from 'plimsoll/cache';
import { createDatabase, type Database } from 'plimsoll/database';

/** What somebody has read past the cache he is not shown without by it, whichever process he comes to. */
function inOrder(pool: pg.Pool, url: string, database: Database) {
  const epoch = () => database.routing().epoch;
  const cache = createCache({
    name: 'offers',
    processes: 'several',
    bus: postgresBus({ client: pool, listenUrl: url }),
    truth: invalidationTruth({ database, epoch }),
  });
  // Publishes the rows, in each process, and deletes them when all have been told.
  return { cache, relay: createInvalidationRelay({ database, caches: [cache], epoch }) };
}
// #endregion

// #region purge
import { requestPurger } from 'plimsoll/http-cache';

/** In each process: whoever finds a row purges what stands before us, once the inner tiers have been told. */
function relayWithPurges(database: ReturnType<typeof fromPool>, cache: ReturnType<typeof createCache>) {
  const varnish = requestPurger({ name: 'varnish', urls: ['http://127.0.0.1:6081/'] });
  return createInvalidationRelay({ database, caches: [cache], purgers: [varnish] });
}
// #endregion

test('a relay may purge caches outside', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const pool = new pg.Pool({ connectionString: server.url, max: 2 });
  await migrate(fromPool(pool), [cacheMigrations]);
  const relay = relayWithPurges(fromPool(pool), createCache({ name: 'shop' }));
  try {
    await relay.start();
    expect(relay.state).toBe('running');
  } finally {
    await relay.stop();
    await pool.end();
    await server.drop();
  }
});

test('who has read past the cache is shown nothing older by it', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const pool = new pg.Pool({ connectionString: server.url, max: 4 });
  const database = createDatabase({ url: server.url });
  await migrate(database, [cacheMigrations]);
  const { cache, relay } = inOrder(pool, server.url, database);
  await cache.start();
  const offers = cachePolicy({ ttlMs: 60_000, tags: ['offers'] });
  const find = () => database.readOnly((db) => db.one<{ price: number }>(sql`select price from offer`));
  try {
    await database.execute(sql`create table offer as select 1 as price`);
    await cache.get('1', offers, find);
    await database.transaction(async (tx) => {
      await tx.execute(sql`update offer set price = 2`);
      await recordInvalidation(tx, 'offers', { tags: ['offers'] });
    });
    // Nobody has been told: the relay does not run.
    expect(relay.state).toBe('stopped');
    expect(cache.peek('1')).toEqual({ price: 1 });
    await runInContext(createContext({}), async () => {
      expect(await find()).toEqual({ price: 2 });
      expect(await cache.get('1', offers, find)).toEqual({ price: 2 });
    });
    // Where the primary does not answer at once, it was loaded past the cache.
    const { refreshes, bypassed } = cache.state();
    expect(refreshes + bypassed).toBeGreaterThan(0);
  } finally {
    await cache.stop();
    await Promise.all([pool.end(), database.close()]);
    await server.drop();
  }
});

test('processes tell each other', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const pool = new pg.Pool({ connectionString: server.url, max: 5 });
  await migrate(fromPool(pool), [cacheMigrations]);
  const [one, other] = [inEachProcess(pool, server.url), inEachProcess(pool, server.url)];
  await Promise.all([one.start(), other.start()]);
  const rates = cachePolicy({ ttlMs: 60_000, tags: ['rates'] });
  try {
    await other.get('eur', rates, () => 1.1);
    expect(other.peek('eur')).toBe(1.1);
    await one.invalidate({ tags: ['rates'] });
    await expect.poll(() => other.peek('eur'), { timeout: 10_000 }).toBeUndefined();
  } finally {
    await Promise.all([one.stop(), other.stop()]);
    await pool.end();
    await server.drop();
  }
});

test('what a transaction changed is invalidated exactly when it commits', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const { pool, forCache, cache, relay, rename } = await open(server.url);
  const products = cachePolicy({ ttlMs: 60_000, tags: (key) => [`product:${key}`] });
  const name = () =>
    cache.get(
      '1',
      products,
      async () => (await pool.query<{ name: string }>('select name from product')).rows[0]!.name,
    );
  try {
    await pool.query(`create table product as select 1 as id, 'Lantern' as name`);
    expect([await name(), await name()]).toEqual(['Lantern', 'Lantern']);
    await rename(1, 'Lamp');
    expect(await name()).toBe('Lamp');
  } finally {
    await relay.stop();
    await Promise.all([pool.end(), forCache.end()]);
    await server.drop();
  }
});
