import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createDatabase, type Database } from './database.ts';
import { startRelay, type Relay } from './routing/fixtures/relay.ts';
import { prepared, sql, trustedSql, type Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

let server: TestDatabase;
let relay: Relay;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  relay = await startRelay(server.url);
  database = createDatabase({ url: relay.through(server.url), pool: { max: 1 } });
  await database.execute(sql`create table noted (place int, text text, list int[], bytes bytea)`);
});
afterAll(async () => {
  await database?.close();
  await relay?.[Symbol.asyncDispose]();
  await server?.drop();
});

const length = 100_000;
const long = trustedSql(`/* ${'x'.repeat(length)} */`);

test('in a transaction the text of a statement that is repeated goes to the server once', async () => {
  const before = relay.bytesSent;
  await database.transaction(async (tx) => {
    for (let n = 0; n < 20; n += 1)
      expect(await tx.one(sql`select ${n}::int + 1 as next ${long}`)).toEqual({ next: n + 1 });
  });
  expect(relay.bytesSent - before).toBeGreaterThan(length);
  expect(relay.bytesSent - before).toBeLessThan(2 * length);
});

test('whatever runs between, fails or is rolled back, each statement has its own text and values', async () => {
  const value = fc.oneof(
    fc.string({ maxLength: 5 }).filter((text) => !text.includes('\0')),
    fc.constant(null),
  );
  const step = fc.oneof(
    fc.record({ kind: fc.constantFrom('note', 'named', 'other', 'list', 'bytes'), text: value }),
    fc.record({ kind: fc.constantFrom('plain', 'fails', 'does not parse'), text: fc.constant(null) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25, size: 'max' }), async (steps) => {
      await database.execute(sql`truncate noted`);
      const expected: unknown[] = [];
      await database.transaction(async (tx) => {
        for (const [place, { kind, text }] of steps.entries()) {
          if (kind === 'note' || kind === 'named') {
            const note = sql`insert into noted (place, text) values (${place}, ${text})`;
            await tx.execute(kind === 'named' ? prepared(note) : note);
            expected.push({ place, text, list: null, bytes: null });
          } else if (kind === 'other') {
            expect(await tx.one(sql`select ${text}::text as same`)).toEqual({ same: text });
          } else if (kind === 'list') {
            await tx.execute(sql`insert into noted (place, list) values (${place}, ${[place, place + 1]})`);
            expected.push({ place, text: null, list: [place, place + 1], bytes: null });
          } else if (kind === 'bytes') {
            const bytes = Buffer.from([0, place, 255]);
            await tx.execute(sql`insert into noted (place, bytes) values (${place}, ${bytes})`);
            expected.push({ place, text: null, list: null, bytes });
          } else if (kind === 'plain') await tx.query(sql`select 1`);
          else await failing(tx, kind === 'fails' ? sql`select 1 / ${0}::int` : sql`selec ${place}::int`);
        }
      });
      expect(await database.query(sql`select * from noted order by place`)).toEqual(expected);
    }),
    { numRuns: 60 },
  );
});

/** Behind a savepoint, twice: the second one is the same as the one before. */
async function failing(tx: Transaction, statement: Sql): Promise<void> {
  for (let turn = 0; turn < 2; turn += 1) {
    await tx.execute(sql`savepoint here`);
    await expect(tx.query(statement)).rejects.toThrow();
    await tx.execute(sql`rollback to savepoint here`);
  }
}
