import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { queries } from '../kernel/channels.ts';
import { createDatabase, type Database } from './database.ts';
import { sql } from './sql.ts';
import type { Opening } from './transaction.ts';

let server: TestDatabase;
let role: string;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  role = `opening_${process.pid}_${Date.now()}`;
  await using database = createDatabase({ url: server.url });
  await database.execute(sql`create table note (text text not null); create role ${sql.id(role)}`);
  await database.execute(sql`grant select, insert on note to ${sql.id(role)}`);
});
afterAll(async () => {
  await using database = createDatabase({ url: server.url });
  await database.execute(sql`revoke all on note from ${sql.id(role)}; drop role ${sql.id(role)}`);
  await server.drop();
});

const asks = (refusal: Opening['refusal']): Opening => ({
  question: sql`select current_user::text as "user", ${'given'}::text as given`,
  refusal,
});
const refused = new Error('refused');
const notes = (database: Database): Promise<readonly object[]> => database.query(sql`select text from note`);

describe.each(['none', 'one-to-one'] as const)('pooler %s', (pooler) => {
  const open = (): Database =>
    createDatabase({ url: server.url, pool: { max: 1, statementTimeoutMs: 7_000 }, routing: { pooler } });

  test('the question travels with BEGIN, before what holds in the transaction, and is asked once', async () => {
    await using database = open();
    const texts: string[] = [];
    const stop = queries.subscribe(({ scope, text }) => {
      if (scope === database.scope) texts.push(text);
    });
    const asked: unknown[] = [];
    try {
      const ran = await database.transaction(
        async (tx) => {
          expect(asked).toEqual([]);
          await Promise.all([tx.execute(sql`insert into note values ('a')`), tx.query(sql`select 1`)]);
          return tx.one(sql`
            select current_user::text as "user", current_setting('statement_timeout') as timeout,
              (select count(*)::int from note) as n`);
        },
        {
          opening: asks((row) => void asked.push(row)),
          holds: () => sql`set local role ${sql.id(role)}`,
        },
      );
      expect(ran).toEqual({ user: role, timeout: '7s', n: 1 });
      expect(asked).toEqual([{ user: 'postgres', given: 'given' }]);
      expect(texts.slice(0, 2)).toEqual([
        expect.stringContaining('select current_user'),
        expect.stringContaining('insert'),
      ]);
      // Neither the role nor the settings outlive the transaction.
      expect(await database.one(sql`select current_user::text as "user"`)).toEqual({ user: 'postgres' });
    } finally {
      stop();
      await database.execute(sql`truncate note`);
    }
  });

  test('a refusal fails each statement, and the COMMIT of a function that swallows them; the connection is whole', async () => {
    await using database = open();
    const opening = asks(() => refused);
    const seen: unknown[] = [];
    const swallowing = database.transaction(
      async (tx) => {
        for (const text of ['a', 'b'])
          await tx
            .execute(sql`insert into note values (${text})`)
            .catch((error: unknown) => seen.push(error));
      },
      { opening },
    );
    await expect(swallowing).rejects.toBe(refused);
    expect(seen).toEqual([refused, refused]);
    await expect(
      database.transaction(async () => undefined, {
        opening,
        beforeCommit: async (tx) => void (await tx.execute(sql`insert into note values ('c')`)),
      }),
    ).rejects.toBe(refused);
    expect(await notes(database)).toEqual([]);
    expect(database.pools()['primary']).toMatchObject({ inUse: 0, open: 1 });
  });

  test('nothing is asked where no statement is sent; a question that fails leaves no transaction', async () => {
    await using database = open();
    expect(await database.transaction(() => Promise.resolve(7), { opening: asks(() => refused) })).toBe(7);
    const broken: Opening = { question: sql`select no_such_column, ${1}::int`, refusal: () => undefined };
    await expect(
      database.transaction((tx) => tx.query(sql`select 1`), { opening: broken }),
    ).rejects.toMatchObject({ code: '42703' });
    await database.transaction((tx) => tx.execute(sql`insert into note values ('kept')`));
    expect(await notes(database)).toEqual([{ text: 'kept' }]);
    await database.execute(sql`truncate note`);
  });
});
