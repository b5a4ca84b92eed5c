import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { runHandler, type RequestLike } from './http.ts';
import { createIdempotency } from './idempotency.ts';
import { eraseAnswers } from './statements.ts';

let server: TestDatabase;
let database: Database;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

test('the answers of a route are erased by whose they are, with calls outside too; the work stays done', async () => {
  const idempotency = createIdempotency({ database });
  const runs: string[] = [];
  const request = (key: string, name: string): RequestLike => ({
    method: 'POST',
    url: '/people',
    headers: { 'idempotency-key': key },
    body: { name },
  });
  const options = { subject: ({ body }: RequestLike) => (body as { name: string }).name };
  const answer = (name: string) => ({ status: 201, body: { hello: name } });
  const alone = (key: string, name: string) =>
    runHandler(
      idempotency,
      async (_request, tx) => {
        await tx.query(sql`select 1`);
        runs.push(key);
        return answer(name);
      },
      options,
      request(key, name),
    );
  const outside = (key: string, name: string) =>
    runHandler(
      idempotency,
      {
        outside: async () => {
          runs.push(key);
        },
        effect: async () => answer(name),
      },
      options,
      request(key, name),
    );
  await alone('1', 'ada');
  await outside('2', 'ada');
  await alone('3', 'bob');
  expect(await database.one(eraseAnswers('ada'))).toEqual({ erased: 2, left: 0 });
  expect(await database.one(eraseAnswers('ada'))).toEqual({ erased: 0, left: 0 });
  for (const again of [() => alone('1', 'ada'), () => outside('2', 'ada')])
    await expect(again()).rejects.toMatchObject({ code: 'PL_IDEMPOTENCY_NOT_KEPT' });
  expect(await alone('3', 'bob')).toMatchObject({ replayed: true, body: '{"hello":"bob"}' });
  expect(runs).toEqual(['1', '2', '3']);
  expect(
    await database.query(sql`select 1 from plimsoll.idempotency where answer::text like '%ada%'`),
  ).toEqual([]);
});
