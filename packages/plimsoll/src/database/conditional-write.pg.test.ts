import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { insertOnce, writeIfVersion, type VersionedWrite } from './conditional-write.ts';
import { createDatabase, type Database } from './database.ts';
import { sql } from './sql.ts';

let server: TestDatabase;
let database: Database;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await database.execute(sql`
    create table "a table" (id int, part text, sum int not null default 0, version int not null default 1, primary key (id, part))`);
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

const table = sql.id('a table');
const add = (id: number, version: number, by = 1): Promise<VersionedWrite> =>
  writeIfVersion(database, {
    table,
    where: sql`id = ${id} or id = -1`,
    set: sql`sum = sum + ${by}`,
    version,
  });

test('of those that have read the same version one writes, and the others are told which there is now', async () => {
  await database.execute(sql`insert into ${table} (id, part) values (1, 'x'), (2, 'x')`);
  const results = await Promise.all(Array.from({ length: 10 }, () => add(1, 1)));
  expect(results.filter(({ is }) => is === 'written')).toEqual([{ is: 'written', version: 2 }]);
  expect(results.filter(({ is }) => is === 'changed')).toEqual(
    Array.from({ length: 9 }, () => ({ is: 'changed', version: 2 })),
  );
  expect(await database.query(sql`select id, sum, version from ${table} order by id`)).toEqual([
    { id: 1, sum: 1, version: 2 },
    { id: 2, sum: 0, version: 1 },
  ]);
  expect(await add(9, 1)).toEqual({ is: 'missing' });
});

test('whoever reads again until his version is the one loses no write', async () => {
  await database.execute(sql`insert into ${table} (id, part) values (3, 'x')`);
  const untilWritten = async (): Promise<void> => {
    let version = 1;
    for (;;) {
      const result = await add(3, version);
      if (result.is === 'written') return;
      if (result.is === 'changed') version = result.version;
    }
  };
  await Promise.all(Array.from({ length: 20 }, untilWritten));
  expect(await database.one(sql`select sum, version from ${table} where id = 3`)).toEqual({
    sum: 20,
    version: 21,
  });
});

test('of those that insert the same row one does, and all get the row that is there', async () => {
  const values = (sum: number): { id: number; part: string; sum: number } => ({ id: 7, part: "it's", sum });
  const results = await Promise.all(
    Array.from({ length: 10 }, (_, n) =>
      insertOnce<{ sum: number }>(database, { table, values: values(n), key: ['id', 'part'] }),
    ),
  );
  expect(results.filter(({ is }) => is === 'inserted')).toHaveLength(1);
  expect(new Set(results.map(({ row }) => row.sum)).size).toBe(1);
  const next = await insertOnce(database, {
    table,
    values: { ...values(0), part: 'y' },
    key: ['id', 'part'],
  });
  expect(next.is).toBe('inserted');
});
