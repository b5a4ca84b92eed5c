import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { background } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { rateLimitMigrations } from './migrations.ts';
import { postgresStore } from './postgres-store.ts';
import { createRateLimit } from './rate-limit.ts';
import { sharedStoreSuite, storeSuite } from './store-suite.ts';

let server: TestDatabase;
let pool: pg.Pool;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  const database = createDatabase({ url: server.url });
  await migrate(database, [rateLimitMigrations]);
  await database.close();
  pool = new pg.Pool({ connectionString: server.url, max: 8 });
});
afterAll(async () => {
  await pool.end();
  await server.drop();
});

describe('as every store', () => {
  test.for([...storeSuite, ...sharedStoreSuite])('$name', (each) => each.run(postgresStore(pool)));
});

test('callers whose rows are partly there never wait for each other', async () => {
  const take = (...keys: readonly string[]): Promise<unknown> =>
    pool.query('select * from plimsoll.rate_limit_take($1, $2, $3, $4, 1)', [
      keys,
      keys.map(() => false),
      keys.map(() => 1),
      keys.map(() => 100),
    ]);
  for (let round = 0; round < 150; round += 1) {
    const [low, high, other] = ['a', 'b', 'c'].map((name) => `partly:${round}:${name}`) as [
      string,
      string,
      string,
    ];
    // Some have the higher row made while others have looked for both and found none.
    await Promise.all([
      take(low, high),
      take(high, other),
      take(low, high),
      take(other, low),
      take(high, low),
      take(low, other),
      take(high, low),
      take(other, high),
    ]);
  }
});

const rows = async (): Promise<number> =>
  (await pool.query<{ n: number }>('select count(*)::int as n from plimsoll.rate_limit')).rows[0]!.n;

test('a call is one statement, whatever the number of its rules', async () => {
  const texts: string[] = [];
  const limit = createRateLimit({
    name: 'one',
    rules: [
      { kind: 'rate', name: 'a', limit: 10, perMs: 1_000 },
      { kind: 'quota', name: 'b', limit: 10, per: 'day' },
    ],
    store: postgresStore({
      query(text, values) {
        texts.push(text);
        return pool.query(text, values);
      },
    }),
    whenStoreFails: 'closed',
    storeTimeoutMs: 10_000,
  });
  expect((await limit.take()).allowed).toBe(true);
  expect(texts).toHaveLength(1);
});

test('rows that hold nothing any more are deleted by the calls themselves, and those in use are not', async () => {
  await pool.query('delete from plimsoll.rate_limit');
  await pool.query(
    `insert into plimsoll.rate_limit select 'idle:' || n, plimsoll.rate_limit_now() - 1, 1 from generate_series(1, 2500) n`,
  );
  const clock: Clock & { ms: number } = {
    ...systemClock,
    ms: 0,
    monotonicMs() {
      return this.ms;
    },
  };
  const counters = postgresStore(pool).open({
    name: 'sweeping',
    rules: [{ kind: 'rate', name: 'a', capacity: 1, intervalMs: 3_600_000 }],
    clock,
    scope: {},
  });
  await counters.take(['used'], 1);
  expect(await rows()).toBe(2_501);
  clock.ms += 60_000;
  await counters.take(['other'], 1);
  await expect.poll(rows, { timeout: 10_000 }).toBe(2);
});

test('a server that is away is answered for, told once, and found again', async () => {
  const told: unknown[] = [];
  const scope = {};
  const stop = background.subscribe((message) => {
    if (message.scope === scope) told.push(message.what);
  });
  const gone = new pg.Pool({ connectionString: server.url, max: 2 });
  gone.on('error', () => undefined);
  let away = false;
  const limit = createRateLimit({
    name: 'away',
    scope,
    rules: [{ kind: 'rate', name: 'a', limit: 100, perMs: 3_600_000 }],
    store: postgresStore({
      // Ends its own session first, as a restart of the server would.
      query: (text, values) =>
        away ? gone.query('select pg_terminate_backend(pg_backend_pid())') : gone.query(text, values),
    }),
    whenStoreFails: 'open',
    storeTimeoutMs: 5_000,
  });
  try {
    expect((await limit.take()).degraded).toBeUndefined();
    away = true;
    for (let n = 0; n < 5; n += 1) expect((await limit.take()).degraded).toBe('open');
    expect(limit.state().store).toBe('down');
    expect(told).toEqual(['store of the rate limit away: away']);
    away = false;
    await expect.poll(async () => (await limit.take()).degraded, { timeout: 10_000 }).toBeUndefined();
    expect(limit.state().store).toBe('up');
    // Those that were allowed meanwhile took nothing.
    expect((await limit.peek()).remaining).toBeGreaterThanOrEqual(97);
  } finally {
    stop();
    await gone.end();
  }
});
