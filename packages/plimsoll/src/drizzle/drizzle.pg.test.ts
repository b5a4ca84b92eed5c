import { DrizzleQueryError, eq, relations, sql as drizzleSql } from 'drizzle-orm';
import {
  bigint,
  bigserial,
  date,
  integer,
  interval,
  jsonb,
  numeric,
  pgSchema,
  serial,
  text,
  timestamp,
} from 'drizzle-orm/pg-core';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { sqlState } from '../database/failures.ts';
import { sql } from '../database/sql.ts';
import { systemClock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { command, contract, event, query } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { fromClient } from '../pg/from-client.ts';
import { fromPool } from '../pg/from-pool.ts';
import { drizzleOn, drizzleRead } from './drizzle.ts';

const deskSchema = pgSchema('desk');
const books = deskSchema.table('book', {
  id: bigserial('id', { mode: 'number' }).primaryKey(),
  title: text('title').notNull().unique(),
  price: numeric('price', { precision: 12, scale: 2 }).notNull(),
  tags: text('tags').array().notNull().default([]),
  facts: jsonb('facts').notNull().default({}),
  printed: timestamp('printed', { withTimezone: true }),
});
const authors = deskSchema.table('author', {
  id: serial('id').primaryKey(),
  title: text('title').notNull(),
  bookId: bigint('book_id', { mode: 'number' }).notNull(),
});
const booksRelations = relations(books, ({ many }) => ({ authors: many(authors) }));
const authorsRelations = relations(authors, ({ one }) => ({
  book: one(books, { fields: [authors.bookId], references: [books.id] }),
}));
const schema = { books, authors, booksRelations, authorsRelations };

const desk = contract('desk', {
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

const deskModule = module(desk, {
  owns: { schema: 'desk', migrations: new URL('./fixtures/', import.meta.url) },
  commands: {
    async add({ title, fail: how }, { tx, emit, fail }) {
      const [row] = await drizzleOn(tx)
        .insert(books)
        .values({ title, price: '1.00' })
        .returning({ id: books.id });
      emit(desk.added, { title });
      if (how === 'declared') return fail('Refused', {});
      if (how === 'thrown') throw new Error('thrown on purpose');
      return row!;
    },
  },
  queries: {
    async titles(_input, { db }) {
      const rows = await drizzleOn(db).select({ title: books.title }).from(books).orderBy(books.id);
      const { rows: standby } = await drizzleOn(db).execute<{ replica: boolean }>(
        drizzleSql`select pg_is_in_recovery() as replica`,
      );
      return { titles: rows.map(({ title }) => title), replica: standby[0]!.replica };
    },
  },
});

let server: TestDatabase;
let app: App;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'desks',
      modules: [deskModule],
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 100, errorRate: 0 } },
    }),
    { databaseUrl: server.url, replicaUrls: server.replicaUrls, listen: false },
  );
  await app.start();
  database = createDatabase({ url: server.url, replicaUrls: server.replicaUrls });
  await database.execute(
    sql`create table desk.author (id serial primary key, title text not null, book_id bigint not null references desk.book)`,
  );
});
afterAll(async () => {
  await database?.close();
  await app?.stop();
  await server?.drop();
});

const titled = (title: string): Promise<unknown[]> =>
  database.query(sql`select 1 from desk.book where title = ${title}`);
const events = async (title: string): Promise<number> => {
  const { n } = await database.one<{ n: number }>(sql`
    select (select count(*) from plimsoll.outbox where payload->>'title' = ${title})::int
      + (select count(*) from plimsoll.event where payload->>'title' = ${title})::int as n`);
  return n;
};
const failure = (running: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(running).catch((error: unknown) => error);
/** The SQLSTATE where Drizzle keeps it. */
const stateOf = (error: unknown): string | undefined => {
  expect(error).toBeInstanceOf(DrizzleQueryError);
  return sqlState((error as DrizzleQueryError).cause);
};

describe('in a module', () => {
  test("a command's Drizzle queries commit together with its events", async () => {
    expect(await app.call(desk.add, { title: 'kept' })).toMatchObject({ ok: true });
    expect(await titled('kept')).toHaveLength(1);
    await expect.poll(() => events('kept')).toBe(1);
  });

  test('and roll back with them, for a declared failure, a thrown one and a constraint', async () => {
    expect(await app.call(desk.add, { title: 'declared', fail: 'declared' })).toMatchObject({
      error: 'Refused',
    });
    await expect(app.call(desk.add, { title: 'thrown', fail: 'thrown' })).rejects.toThrow('on purpose');
    expect(await titled('declared')).toEqual([]);
    expect(await titled('thrown')).toEqual([]);
    expect([await events('declared'), await events('thrown')]).toEqual([0, 0]);
    const twice = await failure(app.call(desk.add, { title: 'kept' }));
    expect(stateOf(twice)).toBe('23505');
    expect(twice).toMatchObject({ cause: { constraint: 'book_title_key' } });
    expect(await events('kept')).toBe(1);
  });

  test('a query reads the replica, and may not begin a transaction', async () => {
    await expect.poll(() => app.call(desk.titles, {})).toMatchObject({ titles: ['kept'], replica: true });
    await database.readOnly(async (db) => {
      const nested = drizzleOn(db).transaction(() => Promise.resolve());
      await expect(nested).rejects.toMatchObject({ code: 'PL_UNSUPPORTED' });
    });
  });

  test('transaction() inside the transaction is a savepoint', async () => {
    await database.transaction(async (tx) => {
      const db = drizzleOn(tx);
      await db.insert(books).values({ title: 'outer', price: '1' });
      const inner = db.transaction(async (saved) => {
        await saved.insert(books).values({ title: 'inner', price: '1' });
        await saved.insert(books).values({ title: 'kept', price: '1' });
      });
      expect(stateOf(await failure(inner))).toBe('23505');
      await db.transaction((saved) => saved.insert(books).values({ title: 'inner again', price: '1' }));
    });
    expect([(await titled('outer')).length, (await titled('inner')).length]).toEqual([1, 0]);
    expect(await titled('inner again')).toHaveLength(1);
  });

  test("inside a transaction of the user's own client", async () => {
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    try {
      await client.query('begin');
      await drizzleOn(fromClient(client)).insert(books).values({ title: 'own client', price: '1' });
      expect(await titled('own client')).toEqual([]);
      await client.query('commit');
      expect(await titled('own client')).toHaveLength(1);
    } finally {
      await client.end();
    }
  });
});

describe('on a database', () => {
  test('every type round trips, without loss and without the time zone of the process', async () => {
    await database.execute(sql`create table desk.every (
      id int primary key, big bigint, small bigint, exact numeric(30, 10), at timestamptz, at_text timestamptz,
      naive timestamp, day date, day_date date, span interval, list text[], numbers int[], moments timestamptz[],
      doc jsonb, list_doc jsonb)`);
    const every = deskSchema.table('every', {
      id: integer('id').primaryKey(),
      big: bigint('big', { mode: 'bigint' }),
      small: bigint('small', { mode: 'number' }),
      exact: numeric('exact', { precision: 30, scale: 10 }),
      at: timestamp('at', { withTimezone: true }),
      atText: timestamp('at_text', { withTimezone: true, mode: 'string' }),
      naive: timestamp('naive'),
      day: date('day'),
      dayDate: date('day_date', { mode: 'date' }),
      span: interval('span'),
      list: text('list').array(),
      numbers: integer('numbers').array(),
      moments: timestamp('moments', { withTimezone: true, mode: 'string' }).array(),
      doc: jsonb('doc'),
      listDoc: jsonb('list_doc'),
    });
    const row = {
      id: 1,
      big: 9223372036854775807n,
      small: 9007199254740991,
      exact: '12345678901234567890.0123456789',
      at: new Date('2020-02-29T12:34:56.789Z'),
      // Microseconds, which a Date cannot hold.
      atText: '2020-02-29 12:34:56.123456+00',
      naive: new Date('2020-07-01T00:30:00.000Z'),
      day: '2020-02-29',
      dayDate: new Date('2020-02-29T00:00:00.000Z'),
      span: '1 day 02:03:04',
      list: ['a,b', 'say "c"', '{d}', ''],
      numbers: [1, -2],
      moments: ['2020-02-29 12:34:56.123456+00'],
      doc: { deep: [1, { two: null }] },
      listDoc: [1, 'two', [3]],
    };
    const utc = new pg.Pool({ connectionString: server.url, options: '-c TimeZone=UTC', max: 1 });
    try {
      for (const db of [drizzleOn(fromPool(utc)), drizzleOn(database)]) {
        await db.delete(every);
        await db.insert(every).values(row);
        const [read] = await db.select().from(every).where(eq(every.id, 1));
        const { atText, moments, ...rest } = read!;
        const { atText: wroteText, moments: wroteMoments, ...wrote } = row;
        expect(rest).toEqual(wrote);
        // The session's time zone writes the same moment in its own way.
        expect(atText).toContain('56.123456');
        expect(moments![0]).toContain('56.123456');
        expect([Date.parse(atText!), Date.parse(moments![0]!)]).toEqual([
          Date.parse(wroteText),
          Date.parse(wroteMoments[0]!),
        ]);
      }
    } finally {
      await utc.end();
    }
  });

  test('a join keeps two columns of one name apart, and relations are loaded', async () => {
    const db = drizzleOn(database, { schema });
    const [book] = await db.insert(books).values({ title: 'joined', price: '1' }).returning();
    await db.insert(authors).values([{ title: 'Dr', bookId: book!.id }]);
    const joined = await db
      .select()
      .from(books)
      .innerJoin(authors, eq(authors.bookId, books.id))
      .where(eq(books.id, book!.id));
    expect(joined).toEqual([
      { book, author: { id: expect.any(Number) as number, title: 'Dr', bookId: book!.id } },
    ]);
    const related = await db.query.books.findFirst({
      where: eq(books.id, book!.id),
      with: { authors: true },
    });
    expect(related).toMatchObject({ title: 'joined', authors: [{ title: 'Dr', bookId: book!.id }] });
    expect(await db.$count(authors)).toBe(1);
  });

  test('what looks like SQL stays a parameter', async () => {
    const db = drizzleOn(database);
    const hostile = `x'); drop table desk.book; --`;
    await db.insert(books).values({ title: hostile, price: '1' });
    expect(await db.select({ title: books.title }).from(books).where(eq(books.title, hostile))).toEqual([
      { title: hostile },
    ]);
    const raw = await db.execute(drizzleSql`select title from desk.book where title = ${`' or true --`}`);
    expect(raw.rows).toEqual([]);
  });

  test('counts of written rows, and prepared queries', async () => {
    const db = drizzleOn(database);
    const written = await db.update(books).set({ price: '3' }).where(eq(books.title, 'kept'));
    expect(written).toMatchObject({ rowCount: 1, command: 'UPDATE' });
    const prepared = db
      .select({ price: books.price })
      .from(books)
      .where(eq(books.title, drizzleSql.placeholder('title')))
      .prepare('by_title');
    expect(await prepared.execute({ title: 'kept' })).toEqual([{ price: '3.00' }]);
    expect(await prepared.execute({ title: 'nobody' })).toEqual([]);
  });

  test('a transaction commits, rolls back, nests, and has the isolation level asked for', async () => {
    const db = drizzleOn(database);
    await db.transaction((tx) => tx.insert(books).values({ title: 't1', price: '1' }));
    const thrown = db.transaction(async (tx) => {
      await tx.insert(books).values({ title: 't2', price: '1' });
      tx.rollback();
    });
    await expect(thrown).rejects.toThrow();
    expect([(await titled('t1')).length, (await titled('t2')).length]).toEqual([1, 0]);
    const level = await db.transaction(
      async (tx) => {
        await tx.transaction((saved) => saved.insert(books).values({ title: 't3', price: '1' }));
        const { rows } = await tx.execute(
          drizzleSql`select current_setting('transaction_isolation') as level`,
        );
        return rows;
      },
      { isolationLevel: 'repeatable read', accessMode: 'read write', deferrable: false },
    );
    expect(level).toEqual([{ level: 'repeatable read' }]);
    expect(await titled('t3')).toHaveLength(1);
    expect(database.pools()['primary']).toMatchObject({ inUse: 0 });
  });

  test('a swallowed failure never looks like a commit', async () => {
    const swallowed = drizzleOn(database).transaction(async (tx) => {
      await tx.insert(books).values({ title: 'swallowed', price: '1' });
      await failure(tx.insert(books).values({ title: 'kept', price: '1' }));
    });
    await expect(swallowed).rejects.toMatchObject({ code: 'PL_TRANSACTION_ABORTED' });
    expect(await titled('swallowed')).toEqual([]);
  });

  test('our own errors come with their codes, not inside an error of Drizzle', async () => {
    const late = createContext({ deadlineAtMs: systemClock.monotonicMs() - 1 });
    const running = runInContext(late, () => failure(drizzleOn(database).select().from(books)));
    expect(await running).toMatchObject({ name: 'PlimsollError', code: 'PL_DEADLINE' });
  });
});

describe('drizzleRead', () => {
  test('reads the replica, strong the primary; the server refuses to write', async () => {
    const standby = drizzleSql`select pg_is_in_recovery() as replica`;
    const reads = drizzleRead(database);
    const strong = drizzleRead(database, { consistency: 'strong' });
    await database.ping();
    expect((await reads.execute(standby)).rows).toEqual([{ replica: true }]);
    expect((await strong.execute(standby)).rows).toEqual([{ replica: false }]);
    for (const each of [reads, strong]) {
      expect(stateOf(await failure(each.insert(books).values({ title: 'by mistake', price: '1' })))).toBe(
        '25006',
      );
      await expect(each.transaction(() => Promise.resolve())).rejects.toMatchObject({
        code: 'PL_UNSUPPORTED',
      });
    }
  });
});
