import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createCache } from './create-cache.ts';
import { cacheMigrations } from './migrations.ts';
import { cachePolicy } from './policy.ts';
import { postgresCacheStore } from './postgres-store.ts';
import { sharedStoreSuite } from './store-suite.ts';

let server: TestDatabase;
let pool: pg.Pool;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  const database = createDatabase({ url: server.url });
  await migrate(database, [cacheMigrations]);
  await database.close();
  pool = new pg.Pool({ connectionString: server.url, max: 8 });
});
afterAll(async () => {
  await pool.end();
  await server.drop();
});

describe('as every store', () => {
  test.for(sharedStoreSuite)('$name', (each) => each.run(postgresCacheStore(pool)));
});

const policy = cachePolicy({ ttlMs: 60_000, tags: ['t'] });
const patient = { sharedSoftMs: 10_000, sharedHardMs: 20_000 };

test('questions, fills and invalidations from many sides at once answer nothing old, and none waits for another for ever', async () => {
  const store = postgresCacheStore(pool);
  const caches = Array.from({ length: 4 }, () =>
    createCache({ name: 'many', process: false, shared: store, ...patient }),
  );
  const keys = ['a', 'b', 'c'];
  const truth = new Map(keys.map((key) => [key, 0]));
  const known = new Map(truth);
  const policyOf = cachePolicy({ ttlMs: 60_000, tags: (key) => [`z:${key}`, 'y:all', `x:${key}`] });
  let wrong = 0;
  await Promise.all(
    caches.map(async (cache, at) => {
      for (let n = 0; n < 60; n += 1) {
        const key = keys[(n * (at + 1)) % 3]!;
        if (n % 5 === at) {
          const next = truth.get(key)! + 1;
          truth.set(key, next);
          const tags = n % 2 === 0 ? [`x:${key}`, 'y:all', `z:${key}`] : [`z:${key}`];
          await cache.invalidate({ tags });
          known.set(key, Math.max(known.get(key)!, next));
        } else {
          const atLeast = known.get(key)!;
          const value = await cache.get(key, policyOf, () => truth.get(key)!);
          if (value < atLeast) wrong += 1;
        }
      }
    }),
  );
  expect(wrong).toBe(0);
  for (const cache of caches) expect(cache.state().shared).toMatchObject({ failures: 0, pending: 0 });
});

test('invalidations of tags that are partly new never wait for each other', async () => {
  const table = postgresCacheStore(pool).open({ name: 'partly', clock: systemClock, scope: {} });
  const invalidate = (...tags: readonly string[]): Promise<void> =>
    table.invalidate({ keys: [], tags, everything: false, floor: '00000001.a:0000000000000001' });
  for (let round = 0; round < 150; round += 1) {
    const [low, high, other] = ['a', 'b', 'c'].map((tag) => `${round}:${tag}`) as [string, string, string];
    await Promise.all([
      invalidate(low, high),
      invalidate(high, other),
      invalidate(low, high),
      invalidate(other, low),
      invalidate(high, low),
      invalidate(low, other),
      invalidate(high, low),
      invalidate(other, high),
    ]);
  }
});

test('rows that nobody can be answered with any more are deleted by the questions themselves', async () => {
  const clock: Clock & { ms: number } = {
    ...systemClock,
    ms: 0,
    monotonicMs() {
      return this.ms;
    },
  };
  await pool.query(
    `insert into plimsoll.cache_slot select 'old:' || n, n, '', now() - interval '1 s' from generate_series(1, 1500) n`,
  );
  const table = postgresCacheStore(pool).open({ name: 'sweeping', clock, scope: {} });
  clock.ms += 60_000;
  await table.read({ key: 'k', tags: ['t'], atLeast: '', keepMs: 60_000 });
  const old = async (): Promise<number> =>
    (
      await pool.query<{ n: number }>(
        `select count(*)::int n from plimsoll.cache_slot where slot like 'old:%'`,
      )
    ).rows[0]!.n;
  await expect.poll(old, { timeout: 10_000 }).toBe(0);
  expect((await pool.query(`select from plimsoll.cache_slot where slot like 'sweeping:%'`)).rowCount).toBe(3);
});

test('a server that is away is loaded past', async () => {
  const gone = new pg.Pool({ connectionString: server.url, max: 2 });
  gone.on('error', () => undefined);
  const cache = createCache({
    name: 'away',
    process: false,
    shared: postgresCacheStore({
      // Ends its own session first, as a restart of the server would.
      query: () => gone.query('select pg_terminate_backend(pg_backend_pid())'),
    }),
    ...patient,
  });
  try {
    for (let n = 0; n < 10; n += 1) expect(await cache.get('k', policy, () => n)).toBe(n);
    expect(cache.state().shared?.health).toBe('down');
  } finally {
    await gone.end();
  }
});
