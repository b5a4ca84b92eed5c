import pg from 'pg';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { Seen } from '../kernel/seen.ts';
import { postgresSeenStore } from './postgres-seen-store.ts';
import { sessionMigrations } from './session-migrations.ts';

let server: TestDatabase;
let pool: pg.Pool;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  const database = createDatabase({ url: server.url });
  await migrate(database, [sessionMigrations]);
  await database.close();
  pool = new pg.Pool({ connectionString: server.url, max: 6 });
});
afterAll(async () => {
  await pool?.end();
  await server?.drop();
});

test('a call is one statement, and one for nothing is none', async () => {
  const texts: string[] = [];
  const store = postgresSeenStore({
    query(text, values) {
      texts.push(text);
      return pool.query(text, values);
    },
  });
  const seen = new Seen();
  seen.noteWritten('a', '1.a', 1n);
  seen.noteWritten('b', '1.a', 1n);
  await store.merge('one', seen, 1_000);
  await store.read('one');
  await store.merge('one', new Seen(), 1_000);
  expect(texts).toHaveLength(2);
});

test('rows that have expired are deleted by the calls themselves, and the others are not', async () => {
  await pool.query('delete from plimsoll.seen');
  await pool.query(
    `insert into plimsoll.seen select n::text, '"db"', 1, '1.a', '', '', '{}', now(), now() - interval '1 s'
     from generate_series(1, 2500) n`,
  );
  let nowMs = 0;
  const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
  const store = postgresSeenStore(pool, clock);
  const seen = new Seen();
  seen.noteWritten('db', '1.a', 1n);
  nowMs = 61_000;
  await store.merge('kept', seen, 3_600_000);
  const left = async (): Promise<unknown> =>
    (await pool.query('select count(*)::int as n from plimsoll.seen')).rows;
  await expect.poll(left, { timeout: 10_000 }).toEqual([{ n: 1 }]);
});
