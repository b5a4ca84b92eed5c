import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { recordInvalidation } from './invalidation-rows.ts';
import { cacheMigrations } from './migrations.ts';
import { invalidationTruth, type InvalidationTruth, type TruthAnswer } from './truth.ts';

let server: TestDatabase;
let database: Database;
let truth: InvalidationTruth;
let given: AbortController;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [cacheMigrations]);
  await database.ping();
});
beforeEach(() => {
  truth = invalidationTruth({ database, epoch: () => '1.history' });
  given = new AbortController();
});
afterEach(() => given.abort());
afterAll(async () => {
  await database.close();
  await server.drop();
});

const ask = (known: readonly string[] = []): Promise<TruthAnswer> => truth.read('true', known, given.signal);

/** A transaction that has written a row and is not committed. */
async function writing(): Promise<{ readonly id: string; readonly commit: () => Promise<void> }> {
  const [wrote, ends] = [Promise.withResolvers<string>(), Promise.withResolvers<void>()];
  const done = database.transaction(async (tx) => {
    wrote.resolve((await recordInvalidation(tx, 'true', { tags: ['t'] })).id);
    await ends.promise;
  });
  const commit = async (): Promise<void> => {
    ends.resolve();
    await done;
  };
  return { id: await wrote.promise, commit };
}

describe('a position', () => {
  test('is given with each row that was committed before it, those that are known without what they say', async () => {
    const one = await writing();
    await one.commit();
    const { at, rows, known } = await ask();
    expect(rows).toEqual([{ id: one.id, cache: 'true', tags: ['t'], keys: [] }]);
    expect(known).toEqual([]);
    const { lsn } = await database.one<{ lsn: string }>(sql`select pg_current_wal_insert_lsn()::text as lsn`);
    expect(at?.epoch).toBe('1.history');
    expect(at?.lsn).toBeGreaterThan(0n);
    expect(lsn).not.toBe('');
    expect(await ask([one.id, '0'])).toMatchObject({ rows: [], known: [one.id] });
    await database.execute(sql`delete from plimsoll.invalidation`);
  });

  test('waits for whoever has written a row and cannot be seen yet', async () => {
    const two = await writing();
    let answered = false;
    const asked = ask().finally(() => (answered = true));
    // It looks again and again.
    await vi.waitFor(async () => {
      const looks = sql`select 1 from pg_stat_activity where query like '%virtualtransaction = any%' and pid <> pg_backend_pid()`;
      expect(await database.query(looks)).not.toEqual([]);
    });
    expect(answered).toBe(false);
    await two.commit();
    const { at, rows } = await asked;
    expect(at).toBeDefined();
    expect(rows.map(({ id }) => id)).toContain(two.id);
  });

  test('is not given while the writer stays, who is waited for once', async () => {
    const three = await writing();
    const first = ask();
    given.abort();
    expect((await first).at).toBeUndefined();
    // This one would wait for as long as the writer does.
    given = new AbortController();
    expect((await ask()).at).toBeUndefined();
    await three.commit();
    expect((await ask()).at).toBeDefined();
  });

  test('is not given in a history that is not known, or not that of the server', async () => {
    truth = invalidationTruth({ database, epoch: () => undefined });
    expect((await ask()).at).toBeUndefined();
    truth = invalidationTruth({ database, epoch: () => '9.history' });
    expect((await ask()).at).toBeUndefined();
  });

  test('is not given when there are more rows than one answer has', async () => {
    await database.execute(
      sql`insert into plimsoll.invalidation (cache, tags, keys) select 'true', array['t'], '{}' from generate_series(1, 1500)`,
    );
    const first = await ask();
    expect(first.at).toBeUndefined();
    expect(first.rows).toHaveLength(1_000);
    const second = await ask(first.rows.map(({ id }) => id));
    expect(second.at).toBeDefined();
    expect(second.rows.length).toBeGreaterThanOrEqual(500);
    expect(second.known).toBeUndefined();
  });
});
