import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { parseLsn } from '../kernel/seen.ts';
import { stress } from '../testing/stress.ts';
import type { Invalidating } from './cache.ts';
import { createCache } from './create-cache.ts';
import { recordInvalidation } from './invalidation-rows.ts';
import { cacheMigrations } from './migrations.ts';
import { cachePolicy } from './policy.ts';
import { createInvalidationRelay } from './relay.ts';

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [cacheMigrations]);
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

const policy = cachePolicy({ ttlMs: 3_600_000, tags: ['t'] });
const rows = async (): Promise<number> =>
  (await database.one<{ n: number }>(sql`select count(*)::int as n from plimsoll.invalidation`)).n;

/** Hears what a cache would. */
function listener(name: string, answer = true) {
  const heard: Invalidating[] = [];
  return {
    name,
    heard,
    answer,
    cleared: 0,
    async invalidate(what: Invalidating) {
      heard.push(what);
      return this.answer;
    },
    async clear() {
      this.cleared += 1;
      return this.answer;
    },
  };
}

describe('a row', () => {
  test('is there exactly when the commit is', async () => {
    const cache = createCache({ name: 'exact' });
    const relay = createInvalidationRelay({ database, caches: [cache], pollMs: 10, olderThanMs: 0 });
    await relay.start();
    try {
      await cache.get('k', policy, () => 1);
      const rollback = database.transaction(async (tx) => {
        await recordInvalidation(tx, 'exact', { tags: ['t'] });
        throw new Error('no');
      });
      await expect(rollback).rejects.toThrow('no');
      // What is committed after it is published, so what was rolled back would have been.
      await database.transaction((tx) => recordInvalidation(tx, 'exact', { keys: ['other'] }));
      await expect.poll(rows, { timeout: 10_000 }).toBe(0);
      expect(cache.peek('k')).toBe(1);
      // The writer dies right after its COMMIT: nobody calls `published`.
      await database.transaction((tx) => recordInvalidation(tx, 'exact', { tags: ['t'] }));
      await expect.poll(() => cache.peek('k'), { timeout: 10_000 }).toBeUndefined();
      await expect.poll(rows, { timeout: 10_000 }).toBe(0);
    } finally {
      await relay.stop();
    }
  });

  test('is published by its writer at once, and deleted', async () => {
    const cache = createCache({ name: 'at-once' });
    const relay = createInvalidationRelay({ database, caches: [cache], pollMs: 10, olderThanMs: 60_000 });
    await cache.get('k', policy, () => 1);
    const recorded = await database.transaction((tx) => recordInvalidation(tx, 'at-once', { tags: ['t'] }));
    await relay.published(recorded);
    expect(cache.peek('k')).toBeUndefined();
    expect(await rows()).toBe(1);
    await relay.start();
    await expect.poll(rows, { timeout: 10_000 }).toBe(0);
    await relay.stop();
  });

  test('of a transaction that commits late is not skipped', async () => {
    const hears = listener('late');
    const relay = createInvalidationRelay({ database, caches: [hears], pollMs: 10, olderThanMs: 0 });
    const pool = new pg.Pool({ connectionString: server.url, max: 1 });
    const client = await pool.connect();
    try {
      await client.query('begin');
      await recordInvalidation(client, 'late', { tags: ['first'] });
      await relay.start();
      await database.transaction((tx) => recordInvalidation(tx, 'late', { tags: ['second'] }));
      await expect
        .poll(() => hears.heard.map(({ tags }) => tags?.[0]), { timeout: 10_000 })
        .toContain('second');
      await client.query('commit');
      await expect
        .poll(() => hears.heard.map(({ tags }) => tags?.[0]), { timeout: 10_000 })
        .toContain('first');
    } finally {
      await relay.stop();
      client.release();
      await pool.end();
    }
  });

  test('that a relay finds is stamped with a position at or past its commit', async () => {
    const hears = listener('stamped');
    const relay = createInvalidationRelay({
      database,
      caches: [hears],
      pollMs: 10,
      olderThanMs: 0,
      epoch: () => '1.history',
    });
    await database.transaction((tx) => recordInvalidation(tx, 'stamped', { tags: ['t'] }));
    // No later than here is its commit record.
    const { lsn } = await database.one<{ lsn: string }>(sql`select pg_current_wal_flush_lsn()::text as lsn`);
    await relay.start();
    await expect.poll(() => hears.heard.length, { timeout: 10_000 }).toBeGreaterThan(0);
    await relay.stop();
    const { at } = hears.heard[0]!;
    expect(at?.epoch).toBe('1.history');
    expect(at!.lsn >= parseLsn(lsn)!).toBe(true);
  });

  test('stays until everybody has been told', async () => {
    const hears = listener('patient', false);
    const relay = createInvalidationRelay({ database, caches: [hears], pollMs: 10, olderThanMs: 0 });
    await database.transaction((tx) => recordInvalidation(tx, 'patient', { tags: ['t'] }));
    await relay.start();
    await expect.poll(() => hears.heard.length, { timeout: 10_000 }).toBeGreaterThan(2);
    expect(await rows()).toBe(1);
    hears.answer = true;
    await expect.poll(rows, { timeout: 10_000 }).toBe(0);
    await relay.stop();
  });

  test('of a cache that is not ours is left to others', async () => {
    const relay = createInvalidationRelay({
      database,
      caches: [listener('ours')],
      pollMs: 10,
      olderThanMs: 0,
    });
    await database.transaction((tx) => recordInvalidation(tx, 'theirs', { tags: ['t'] }));
    await database.transaction((tx) => recordInvalidation(tx, 'ours', { tags: ['t'] }));
    await relay.start();
    await expect.poll(rows, { timeout: 10_000 }).toBe(1);
    await relay.stop();
    await database.execute(sql`delete from plimsoll.invalidation`);
  });
});

test('a promotion ends everything that is kept: what it lost, no row tells of', async () => {
  let epoch: string | undefined;
  const cache = listener('promoted');
  const relay = createInvalidationRelay({ database, caches: [cache], pollMs: 10, epoch: () => epoch });
  await relay.start();
  for (const known of ['1.a', undefined, '1.a']) {
    epoch = known;
    await recordAndWait(cache);
  }
  expect(cache.cleared).toBe(0);
  epoch = '2.b';
  await expect.poll(() => cache.cleared, { timeout: 10_000 }).toBe(1);
  await recordAndWait(cache);
  expect(cache.cleared).toBe(1);
  await relay.stop();
});

/** Until the relay has had a round. */
async function recordAndWait(cache: ReturnType<typeof listener>): Promise<void> {
  const before = cache.heard.length;
  await database.transaction((tx) => recordInvalidation(tx, cache.name, { tags: ['t'] }));
  await database.execute(sql`update plimsoll.invalidation set written_at = written_at - interval '1 hour'`);
  await expect.poll(() => cache.heard.length, { timeout: 10_000 }).toBeGreaterThan(before);
}

test('starts and stops in every awkward way', async () => {
  await stress(createInvalidationRelay({ database, caches: [], pollMs: 5 }));
});
