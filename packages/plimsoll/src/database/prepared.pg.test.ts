import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createDatabase } from './database.ts';
import { prepared, sql } from './sql.ts';

let server: TestDatabase;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
});
afterAll(() => server.drop());

const kept = sql`select count(*)::int as n from pg_prepared_statements where statement like '%twice as much%'`;
const doubled = (n: number) => prepared(sql`select ${n}::int * 2 as doubled /* twice as much */`);

test.each([
  ['none', 1],
  ['one-to-one', 0],
] as const)('pooler %s: a prepared statement is kept by the connection %i times', async (pooler, times) => {
  await using database = createDatabase({ url: server.url, pool: { max: 1 }, routing: { pooler } });
  expect(await database.one(doubled(2))).toEqual({ doubled: 4 });
  expect(await database.transaction((tx) => tx.one(doubled(3)))).toEqual({ doubled: 6 });
  expect(await database.one(kept)).toEqual({ n: times });
});

test('a prepared statement goes on after its tables have changed', async () => {
  await using database = createDatabase({ url: server.url, pool: { max: 1 } });
  await database.execute(sql`create table grows (n int)`);
  const count = () => prepared(sql`select count(*)::int as n from grows`);
  const insert = () =>
    prepared(sql`with added as (insert into grows (n) values (1) returning *) select n from added`);
  for (let n = 0; n < 7; n += 1) await database.one(insert());
  await database.execute(sql`alter table grows add column more text not null default ''`);
  expect(await database.one(insert())).toEqual({ n: 1 });
  expect(await database.one(count())).toEqual({ n: 8 });
});
