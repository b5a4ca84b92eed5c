import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { Seen } from '../kernel/seen.ts';
import { createDatabase } from './database.ts';
import { sql } from './sql.ts';

let server: TestDatabase;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
});
afterAll(() => server.drop());

test('the position of a commit may be left to whoever needs it, and covers the commit then', async () => {
  await using database = createDatabase({ url: server.url });
  await database.execute(sql`create table note (n int)`);
  const write = async (positionDue: boolean): Promise<Seen> => {
    const seen = new Seen();
    await database.transaction((tx) => tx.execute(sql`insert into note values (1)`), {
      seen,
      positionDue: () => positionDue,
    });
    return seen;
  };
  const now = await write(false);
  expect([now.owes, now.isUnknown(database.name)]).toEqual([false, false]);
  const later = await write(true);
  // Until then only the primary is sure to show it.
  expect([later.owes, later.isUnknown(database.name), later.hasWritten]).toEqual([true, true, true]);
  const { lsn } = await database.one<{ lsn: bigint | number }>(
    sql`select (pg_current_wal_flush_lsn() - '0/0')::bigint as lsn`,
  );
  await database.settle(later);
  expect([later.owes, later.isUnknown(database.name)]).toEqual([false, false]);
  expect(later.mark(database.name)?.written).toBeGreaterThanOrEqual(BigInt(lsn));
});
