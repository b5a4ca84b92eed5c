import { CamelCasePlugin, Kysely, sql as kyselySql, type Generated } from 'kysely';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { sqlState } from '../database/failures.ts';
import { sql } from '../database/sql.ts';
import { command, contract, event, query } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { fromClient } from '../pg/from-client.ts';
import { kyselyDialect } from './dialect.ts';
import { kysely, kyselyRead } from './kysely.ts';

interface Book {
  id: Generated<number>;
  title: string;
  price: string;
  tags: Generated<string[]>;
  facts: Generated<unknown>;
  printed: Date | null;
}
interface Tables {
  'shelf.book': Book;
}

const shelf = contract('shelf', {
  add: command({
    input: z.object({ title: z.string(), fail: z.enum(['no', 'declared', 'thrown']).default('no') }),
    output: z.object({ id: z.number() }),
    errors: { Refused: z.object({}) },
  }),
  titles: query({
    input: z.object({}),
    output: z.object({ titles: z.array(z.string()), replica: z.boolean() }),
  }),
  added: event({ payload: z.object({ title: z.string() }) }),
});

const shelfModule = module(shelf, {
  owns: { schema: 'shelf', migrations: new URL('./fixtures/', import.meta.url) },
  commands: {
    async add({ title, fail: how }, { tx, emit, fail }) {
      const row = await kysely<Tables>(tx)
        .insertInto('shelf.book')
        .values({ title, price: '1.00', printed: null })
        .returning('id')
        .executeTakeFirstOrThrow();
      emit(shelf.added, { title });
      if (how === 'declared') return fail('Refused', {});
      if (how === 'thrown') throw new Error('thrown on purpose');
      return row;
    },
  },
  queries: {
    async titles(_input, { db }) {
      const books = kysely<Tables>(db);
      const rows = await books.selectFrom('shelf.book').select('title').orderBy('id').execute();
      const standby = kyselySql<{ replica: boolean }>`select pg_is_in_recovery() as replica`;
      const { replica } = (await standby.execute(books)).rows[0]!;
      return { titles: rows.map(({ title }) => title), replica };
    },
  },
});

let server: TestDatabase;
let app: App;
let database: Database;
let db: Kysely<Tables>;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'books',
      modules: [shelfModule],
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 100, errorRate: 0 } },
    }),
    { databaseUrl: server.url, replicaUrls: server.replicaUrls, listen: false },
  );
  await app.start();
  database = createDatabase({ url: server.url, replicaUrls: server.replicaUrls });
  db = new Kysely<Tables>({ dialect: kyselyDialect(database) });
});
afterAll(async () => {
  await database?.close();
  await app?.stop();
  await server?.drop();
});

const book = (title: string): { title: string; price: string; printed: null } => ({
  title,
  price: '1.00',
  printed: null,
});
const titled = (title: string): Promise<unknown[]> =>
  database.query(sql`select 1 from shelf.book where title = ${title}`);
const events = async (title: string): Promise<number> => {
  const { n } = await database.one<{ n: number }>(sql`
    select (select count(*) from plimsoll.outbox where payload->>'title' = ${title})::int
      + (select count(*) from plimsoll.event where payload->>'title' = ${title})::int as n`);
  return n;
};
const failure = (running: Promise<unknown>): Promise<unknown> => running.catch((error: unknown) => error);

describe('in a module', () => {
  test("a command's Kysely queries commit together with its events", async () => {
    const added = await app.call(shelf.add, { title: 'kept' });
    expect(added).toMatchObject({ ok: true });
    expect(await titled('kept')).toHaveLength(1);
    await expect.poll(() => events('kept')).toBe(1);
  });

  test('and roll back with them, for a declared failure, a thrown one and a constraint', async () => {
    expect(await app.call(shelf.add, { title: 'declared', fail: 'declared' })).toMatchObject({
      error: 'Refused',
    });
    await expect(app.call(shelf.add, { title: 'thrown', fail: 'thrown' })).rejects.toThrow('on purpose');
    expect(await titled('declared')).toEqual([]);
    expect(await titled('thrown')).toEqual([]);
    expect([await events('declared'), await events('thrown')]).toEqual([0, 0]);
    const twice = await failure(app.call(shelf.add, { title: 'kept' }));
    expect(sqlState(twice)).toBe('23505');
    expect(twice).toMatchObject({ constraint: 'book_title_key' });
    expect(await events('kept')).toBe(1);
  });

  test('a query reads the replica', async () => {
    await expect.poll(() => app.call(shelf.titles, {})).toMatchObject({ titles: ['kept'], replica: true });
  });

  test('a transaction, a stream and a session inside a handler are refused', async () => {
    await database.transaction(async (tx) => {
      const inside = kysely<Tables>(tx);
      const nested = inside
        .transaction()
        .execute((trx) => trx.selectFrom('shelf.book').selectAll().execute());
      await expect(nested).rejects.toMatchObject({ code: 'PL_UNSUPPORTED' });
      const stream = inside.selectFrom('shelf.book').selectAll().stream();
      await expect(stream.next()).rejects.toMatchObject({ code: 'PL_UNSUPPORTED' });
      // Neither has touched the transaction.
      await inside.insertInto('shelf.book').values(book('after refusals')).execute();
    });
    expect(await titled('after refusals')).toHaveLength(1);
  });

  test("inside a transaction of the user's own client", async () => {
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    try {
      await client.query('begin');
      await kysely<Tables>(fromClient(client)).insertInto('shelf.book').values(book('own client')).execute();
      expect(await titled('own client')).toEqual([]);
      await client.query('commit');
      expect(await titled('own client')).toHaveLength(1);
    } finally {
      await client.end();
    }
  });
});

describe('on a database', () => {
  test('values round trip, as the pools read them', async () => {
    const printed = new Date('2020-02-29T12:34:56.789Z');
    const row = {
      title: 'types',
      price: '12345678.90',
      tags: ['a,b', 'say "c"', '{d}'],
      facts: JSON.stringify({ deep: [1, { two: null }] }),
      printed,
    };
    await db.insertInto('shelf.book').values(row).execute();
    const read = await db
      .selectFrom('shelf.book')
      .selectAll()
      .where('title', '=', 'types')
      .executeTakeFirst();
    expect(read).toEqual({ ...row, facts: { deep: [1, { two: null }] }, id: expect.any(Number) as number });
    const big = kyselySql<{ big: string }>`select ${9007199254740993n}::int8::text as big`;
    expect((await big.execute(db)).rows).toEqual([{ big: '9007199254740993' }]);
  });

  test('what looks like SQL stays a parameter', async () => {
    const hostile = `x'); drop table shelf.book; --`;
    await db.insertInto('shelf.book').values(book(hostile)).execute();
    const found = await db.selectFrom('shelf.book').select('title').where('title', '=', hostile).execute();
    expect(found).toEqual([{ title: hostile }]);
    expect(
      await db.selectFrom('shelf.book').select('id').where('title', '=', `' or true --`).execute(),
    ).toEqual([]);
  });

  test('counts of written rows are those of the server', async () => {
    await db
      .insertInto('shelf.book')
      .values([book('n1'), book('n2')])
      .execute();
    const updated = await db
      .updateTable('shelf.book')
      .set({ price: '2' })
      .where('title', 'in', ['n1', 'n2'])
      .executeTakeFirst();
    expect(updated.numUpdatedRows).toBe(2n);
    const deleted = await db.deleteFrom('shelf.book').where('title', '=', 'n1').executeTakeFirst();
    expect(deleted.numDeletedRows).toBe(1n);
    const raw = await kyselySql`delete from shelf.book where title = 'n2'`.execute(db);
    expect(raw).toEqual({ rows: [], numAffectedRows: 1n });
  });

  test('a transaction commits, rolls back, and keeps what a savepoint keeps', async () => {
    await db.transaction().execute((trx) => trx.insertInto('shelf.book').values(book('t1')).execute());
    const thrown = db.transaction().execute(async (trx) => {
      await trx.insertInto('shelf.book').values(book('t2')).execute();
      throw new Error('no');
    });
    await expect(thrown).rejects.toThrow('no');
    expect([(await titled('t1')).length, (await titled('t2')).length]).toEqual([1, 0]);

    const begun = await db.startTransaction().execute();
    await begun.insertInto('shelf.book').values(book('t3')).execute();
    const saved = await begun.savepoint('here "quoted"').execute();
    await expect(saved.insertInto('shelf.book').values(book('t1')).execute()).rejects.toMatchObject({
      code: '23505',
    });
    const back = await saved.rollbackToSavepoint('here "quoted"').execute();
    await back.insertInto('shelf.book').values(book('t4')).execute();
    await begun.commit().execute();
    expect([(await titled('t3')).length, (await titled('t4')).length]).toEqual([1, 1]);
    expect(database.pools()['primary']).toMatchObject({ inUse: 0 });
  });

  test('isolation level and access mode are those asked for', async () => {
    const asked = db.transaction().setIsolationLevel('serializable').setAccessMode('read only');
    const shown = await asked.execute(async (trx) => {
      const { rows } = await kyselySql`
        select current_setting('transaction_isolation') as level, current_setting('transaction_read_only') as ro`.execute(
        trx,
      );
      return rows[0];
    });
    expect(shown).toEqual({ level: 'serializable', ro: 'on' });
    const snapshot = db
      .transaction()
      .setIsolationLevel('snapshot')
      .execute(() => Promise.resolve());
    await expect(snapshot).rejects.toMatchObject({ code: 'PL_UNSUPPORTED' });
    expect(database.pools()['primary']).toMatchObject({ inUse: 0 });
  });

  test('a swallowed failure never looks like a commit', async () => {
    const swallowed = db.transaction().execute(async (trx) => {
      await trx.insertInto('shelf.book').values(book('swallowed')).execute();
      await trx
        .insertInto('shelf.book')
        .values(book('kept'))
        .execute()
        .catch(() => undefined);
    });
    await expect(swallowed).rejects.toMatchObject({ code: 'PL_TRANSACTION_ABORTED' });
    expect(await titled('swallowed')).toEqual([]);
  });

  test('connection() is refused where it would matter: at its second query', async () => {
    const twoOnOne = db.connection().execute(async (one) => {
      await kyselySql`select 1`.execute(one);
      await kyselySql`select 2`.execute(one);
    });
    await expect(twoOnOne).rejects.toMatchObject({ code: 'PL_UNSUPPORTED' });
  });

  test('plugins work, and closing Kysely leaves the database open', async () => {
    interface Camel {
      'shelf.book': Book & { bookTitle: string };
    }
    const camel = kysely<Camel>(database, { plugins: [new CamelCasePlugin()] });
    const rows = await camel
      .selectFrom('shelf.book')
      .select('title as bookTitle')
      .where('title', '=', 'kept')
      .execute();
    expect(rows).toEqual([{ bookTitle: 'kept' }]);
    await camel.destroy();
    expect(await database.one(sql`select 1 as one`)).toEqual({ one: 1 });
  });
});

describe('kyselyRead', () => {
  test('reads the replica, strong the primary; the server refuses to write; no transaction', async () => {
    const standby = kyselySql<{ replica: boolean }>`select pg_is_in_recovery() as replica`;
    const reads = kyselyRead<Tables>(database);
    await database.ping();
    expect((await standby.execute(reads)).rows).toEqual([{ replica: true }]);
    const strong = kyselyRead<Tables>(database, { consistency: 'strong' });
    expect((await standby.execute(strong)).rows).toEqual([{ replica: false }]);
    for (const each of [reads, strong]) {
      const written = failure(each.insertInto('shelf.book').values(book('by mistake')).execute());
      expect(sqlState(await written)).toBe('25006');
      await expect(each.transaction().execute(() => Promise.resolve())).rejects.toMatchObject({
        code: 'PL_UNSUPPORTED',
      });
    }
  });
});
