import pg from 'pg';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { stress } from '../testing/stress.ts';
import type { Cache } from './cache.ts';
import { createCache } from './create-cache.ts';
import { cacheMigrations } from './migrations.ts';
import { cachePolicy } from './policy.ts';
import { postgresBus } from './postgres-bus.ts';
import type { SequencedBusOptions } from './sequenced-bus.ts';

let server: TestDatabase;
let pool: pg.Pool;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  const database = createDatabase({ url: server.url });
  await migrate(database, [cacheMigrations]);
  await database.close();
  pool = new pg.Pool({ connectionString: server.url, max: 6 });
  pool.on('error', () => undefined);
});
afterAll(async () => {
  await pool.end();
  await server.drop();
});

const policy = cachePolicy({ ttlMs: 3_600_000, tags: ['t'] });
let names = 0;

async function pairOf(options: SequencedBusOptions & { listens?: boolean } = {}): Promise<[Cache, Cache]> {
  const { listens = true, ...rest } = options;
  const name = `bus-${(names += 1)}`;
  const bus = postgresBus({ client: pool, ...(listens ? { listenUrl: server.url } : {}), ...rest });
  const made: [Cache, Cache] = [createCache({ name, bus }), createCache({ name, bus })];
  for (const cache of made) await cache.start();
  return made;
}

test.for([true, false])('what one invalidates the other drops, listening: %j', async (listens) => {
  const [one, other] = await pairOf({ listens, pollMs: listens ? 60_000 : 20, silentMs: 120_000 });
  try {
    for (let n = 0; n < 5; n += 1) {
      for (const cache of [one, other]) await cache.get('k', policy, () => n);
      expect([one.peek('k'), other.peek('k')]).toEqual([n, n]);
      await one.invalidate({ tags: ['t'] });
      await expect.poll(() => other.peek('k'), { timeout: 10_000 }).toBeUndefined();
    }
    expect(other.state().trusted).toBe(true);
  } finally {
    await Promise.all([one.stop(), other.stop()]);
  }
});

test('a listener that is cut off just before an invalidation hears of it all the same', async () => {
  const [one, other] = await pairOf({ pollMs: 50 });
  try {
    let stale = 0;
    for (let n = 0; n < 20; n += 1) {
      for (const cache of [one, other]) await cache.get('k', policy, () => n);
      await pool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen plimsoll_cache' and datname = current_database()`,
      );
      await one.invalidate({ keys: ['k'] });
      await expect
        .poll(() => other.peek('k'), { timeout: 10_000 })
        .toBeUndefined()
        .catch(() => void (stale += 1));
    }
    expect(stale).toBe(0);
  } finally {
    await Promise.all([one.stop(), other.stop()]);
  }
});

test('a stream that is lost and begins anew, as after a crash of the server, is not trusted over the gap', async () => {
  const [one, other] = await pairOf({ pollMs: 20 });
  try {
    await one.invalidate({ keys: ['other'] });
    await other.get('k', policy, () => 'old');
    expect(other.peek('k')).toBe('old');
    await pool.query('truncate plimsoll.cache_bus_head, plimsoll.cache_bus');
    await expect.poll(() => other.peek('k'), { timeout: 10_000 }).toBeUndefined();
    await expect.poll(() => other.state().trusted, { timeout: 10_000 }).toBe(true);
  } finally {
    await Promise.all([one.stop(), other.stop()]);
  }
});

test('who begins to listen after an invalidation loads at or past it, also when its message is kept no longer', async () => {
  const bus = postgresBus({ client: pool, pollMs: 20 });
  const [one, other] = [createCache({ name: 'late', bus }), createCache({ name: 'late', bus })];
  await one.start();
  try {
    const at = { epoch: '1.history', lsn: 700n };
    await one.invalidate({ tags: ['t'], at });
    await one.invalidate({ tags: ['t'], at: { ...at, lsn: 90n } });
    await one.invalidate({ tags: ['t'] });
    await pool.query(`delete from plimsoll.cache_bus where name = 'late'`);
    await other.start();
    expect(await other.get('k', policy, ({ atLeast }) => atLeast)).toEqual(at);
  } finally {
    await Promise.all([one.stop(), other.stop()]);
  }
});

test('a server that gives no answer is not trusted, and nothing is kept until it does', async () => {
  let hangs = false;
  const bus = postgresBus({
    client: { query: (text, values) => (hangs ? new Promise(() => undefined) : pool.query(text, values)) },
    pollMs: 20,
    silentMs: 200,
  });
  const cache = createCache({ name: 'silent', bus });
  await cache.start();
  await cache.get('k', policy, () => 1);
  expect(cache.peek('k')).toBe(1);
  hangs = true;
  await expect.poll(() => cache.state().trusted, { timeout: 10_000 }).toBe(false);
  expect(cache.peek('k')).toBeUndefined();
  expect(await cache.get('k', policy, () => 2)).toBe(2);
  expect(await cache.get('k', policy, () => 3)).toBe(3);
  expect(await cache.invalidate({ tags: ['t'] })).toBe(false);
  hangs = false;
  await expect.poll(() => cache.state().trusted, { timeout: 10_000 }).toBe(true);
  await cache.stop();
});

test('messages of a moment are one transaction, whatever their number', async () => {
  const [one, other] = await pairOf({ gatherMs: 20 });
  try {
    await Promise.all(Array.from({ length: 500 }, (_, n) => one.invalidate({ tags: [`t${n}`] })));
    const { rows } = await pool.query<{ n: number }>(
      `select count(*)::int as n from plimsoll.cache_bus where name = 'bus-${names}'`,
    );
    expect(rows[0]!.n).toBeLessThanOrEqual(10);
  } finally {
    await Promise.all([one.stop(), other.stop()]);
  }
});

test('starts and stops in every awkward way', async () => {
  const bus = postgresBus({ client: pool, listenUrl: server.url, pollMs: 5 });
  await stress(createCache({ name: 'stressed', bus }).lifecycle);
});
