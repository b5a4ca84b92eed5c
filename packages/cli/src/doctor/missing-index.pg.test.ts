import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { sql } from 'plimsoll';
import { createDatabase, type Database, type Session } from 'plimsoll/database';
import { findMissingIndexes, type MissingIndexResult } from './missing-index.ts';
import { explain, tablesOf, type PlanNode } from './plan-tree.ts';
import { rawSql } from './raw-sql.ts';
import { readServers, serverDelta } from './server-statements.ts';
import { openTwin } from './twin.ts';

let server: TestDatabase;
let database: Database;
let session: Session;
/** The database as a role of this file sees it, so that the twins of others are not counted. */
let url: string;
const suffix = randomBytes(4).toString('hex');
const [owner, reader] = [`doctor_owner_${suffix}`, `doctor_reader_${suffix}`];

function urlOf(role: string): string {
  const own = new URL(server.url);
  own.username = role;
  own.password = 'secret';
  return own.href;
}

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  {
    await using admin = createDatabase({ url: server.url, pool: { max: 1 } });
    await admin.execute(rawSql(`create role ${owner} superuser login password 'secret'`));
    await admin.execute(
      rawSql(`create role ${reader} login password 'secret' in role pg_read_all_data, pg_read_all_stats`),
    );
  }
  url = urlOf(owner);
  database = createDatabase({ url, pool: { max: 2 } });
  session = await database.session();
  for (const statement of schema) await session.execute(rawSql(statement));
});
afterAll(async () => {
  await session?.close();
  await database?.close();
  await server?.drop();
  await using admin = createDatabase({ url: inject('cluster').primaryUrl, pool: { max: 1 } });
  await admin.execute(rawSql(`drop role if exists ${owner}, ${reader}`));
});

const schema = [
  `create schema "Sales"`,
  `create type "Sales".state as enum ('new', 'paid', 'it''s gone')`,
  `create domain positive as bigint check (value > 0)`,
  `create table "Sales"."order" (
    id bigint primary key, "customerId" positive not null, state "Sales".state not null, at timestamptz not null,
    tags text[], note varchar(40))`,
  `insert into "Sales"."order"
    select i, 1 + i % 4000,
      (case when i % 10 = 0 then 'paid' when i % 999 = 0 then 'it''s gone' else 'new' end)::"Sales".state,
      timestamptz '2026-01-01' + i * interval '1 minute', array['t' || i % 7], repeat('n', i % 40)
    from generate_series(1, 150000) i`,
  `create index order_at on "Sales"."order" (at)`,
  `create table customer (id bigint primary key, country text not null)`,
  `insert into customer select i, 'country ' || i % 30 from generate_series(1, 4000) i`,
  `create table small (id int, name text)`,
  `insert into small select i, 'n' || i from generate_series(1, 500) i`,
  `vacuum analyze`,
];

const byCustomer = `select id, at from "Sales"."order" where "customerId" = $1 order by at desc, id desc limit $2`;
const statements = [
  byCustomer,
  `select * from "Sales"."order" where id = $1`,
  `select count(*) from "Sales"."order" where state = $1 and at between $2 and $3`,
  `select * from "Sales"."order" o join customer c on c.id = o."customerId" where c.country = $1 and o.at > $2`,
  `select * from "Sales"."order" where state = $1::"Sales".state and "customerId" = any ($2)`,
  `select * from "Sales"."order" where tags @> $1 and note like $2`,
  `update "Sales"."order" set note = $1 where "customerId" = $2`,
];

const twins = async (): Promise<number> =>
  (
    await database.one<{ n: number }>(
      sql`select count(*)::int as n from pg_database where datdba = current_user::regrole`,
    )
  ).n;

/** Node types from the top, and rows and costs at each. */
function shape(plan: PlanNode): readonly (readonly [string, number])[] {
  return [
    [plan['Node Type'], plan['Plan Rows']],
    ...(plan.Plans ?? []).flatMap((child) => [...shape(child)]),
  ];
}

test('the twin has no rows and plans every statement as the original does', { timeout: 60_000 }, async () => {
  const plans = new Map<string, PlanNode>();
  for (const text of statements) plans.set(text, await explain(session, text));
  const tables = [...plans.values()].flatMap((plan) => tablesOf(plan));
  const all = [...new Map(tables.map((table) => [table.table, table])).values()];
  expect(all.map(({ table }) => table).toSorted()).toEqual(['customer', 'order']);
  {
    await using twin = await openTwin(session, url, all);
    expect(twin.shrunk).toEqual([]);
    expect(await twins()).toBe(1);
    for (const [text, original] of plans) {
      const plan = await twin.plan(text);
      expect
        .soft(
          shape(plan).map(([node]) => node),
          text,
        )
        .toEqual(shape(original).map(([node]) => node));
      for (const [index, [, rows]] of shape(plan).entries()) {
        const wanted = shape(original)[index]?.[1] ?? 0;
        expect.soft(Math.abs(rows - wanted), text).toBeLessThanOrEqual(Math.max(1, 0.02 * wanted));
      }
      // Indexes of the twin are empty, so their own pages cost nothing; that is all that differs.
      const least = JSON.stringify(original).includes('Index Name') ? 0.65 : 0.98;
      expect.soft(plan['Total Cost'] / original['Total Cost'], text).toBeGreaterThan(least);
      expect.soft(plan['Total Cost'] / original['Total Cost'], text).toBeLessThan(1.02);
    }
  }
  expect(await twins()).toBe(0);
});

test(
  'what the twin promises for an index is what the original gets from it',
  { timeout: 60_000 },
  async () => {
    const tables = tablesOf(await explain(session, byCustomer));
    const index = { name: 'tried', columns: ['"customerId"', 'at desc', 'id desc'] };
    let promised: PlanNode;
    {
      await using twin = await openTwin(session, url, tables);
      const before = await twin.plan(byCustomer);
      promised = await twin.planWith(byCustomer, tables[0]!, index);
      expect(await twin.plan(byCustomer)).toEqual(before);
    }
    await session.execute(rawSql('begin'));
    await session.execute(rawSql('create index tried on "Sales"."order" ("customerId", at desc, id desc)'));
    const real = await explain(session, byCustomer);
    await session.execute(rawSql('rollback'));
    expect(shape(promised)).toEqual(shape(real));
    expect(promised['Total Cost'] / real['Total Cost']).toBeGreaterThan(0.65);
    expect(promised['Total Cost'] / real['Total Cost']).toBeLessThan(1.1);
  },
);

test('a table too large for its twin is made smaller and named; estimated rows stay, a whole reading only gets cheaper', async () => {
  const text = `select * from "Sales"."order" where tags @> $1 and note like $2`;
  const original = await explain(session, text);
  await using twin = await openTwin(session, url, tablesOf(original), 50);
  expect(twin.shrunk).toEqual(['Sales.order']);
  const plan = await twin.plan(text);
  const all = 'select count(*) from "Sales"."order" where note is not null';
  const leaf = (node: PlanNode): PlanNode => (node.Plans?.[0] === undefined ? node : leaf(node.Plans[0]));
  const [small, large] = [leaf(await twin.plan(all)), leaf(await explain(session, all))];
  // A parallel plan counts the rows of one worker.
  expect([1, 2.4]).toContainEqual(expect.closeTo(small['Plan Rows'] / large['Plan Rows'], 1));
  expect(plan['Total Cost']).toBeLessThan(original['Total Cost']);
});

test('a twin that cannot be finished is dropped as well', async () => {
  await session.execute(rawSql('create table base (id int); create view seen as select * from base'));
  await expect(openTwin(session, url, [{ schema: 'public', table: 'seen' }])).rejects.toThrow(
    /public\.seen is not a plain table/,
  );
  expect(await twins()).toBe(0);
});

/** What the statements that `work` runs look like to the doctor. */
async function examined(work: () => Promise<void>, databaseUrl = url): Promise<MissingIndexResult> {
  const read = async () => {
    const reading = await readServers([server.url, ...server.replicaUrls]);
    if (!reading.ok) throw new Error(reading.why);
    return reading.statements;
  };
  const before = await read();
  await work();
  return findMissingIndexes({
    databaseUrl,
    statements: serverDelta(before, await read()),
    windowMs: 1_000,
    operationsOf: () => ['orders.byCustomer'],
    operationCostOf: () => undefined,
    verify: 'plimsoll load',
    signal: new AbortController().signal,
  });
}

const askByCustomer = async (): Promise<void> => {
  for (let customer = 1; customer <= 20; customer += 1)
    await database.query(
      sql`select id, at from "Sales"."order" where "customerId" = ${customer} order by at desc, id desc limit ${5}`,
    );
};

test('what a killed doctor left is dropped after an hour, and not before', async () => {
  const names = [`plimsoll_doctor_1000_${suffix}`, `plimsoll_doctor_${Date.now()}_${suffix}`];
  for (const name of names) await session.execute(rawSql(`create database ${name} template template0`));
  {
    await using _twin = await openTwin(session, url, []);
  }
  const left = await session.query<{ name: string }>(
    sql`select datname as name from pg_database where datdba = current_user::regrole`,
  );
  expect(left).toEqual([{ name: names[1] }]);
  await session.execute(rawSql(`drop database ${names[1]}`));
});

test('without the right to create a database the finding is there, but not as proved', async () => {
  const { findings } = await examined(askByCustomer, urlOf(reader));
  expect(findings).toMatchObject([
    {
      rule: 'missing-index',
      table: 'Sales.order',
      proved: false,
      unprovedBecause: expect.stringMatching(
        /the twin could not be made: .*permission denied to create database/,
      ) as string,
      gain: { after: null },
      cost: { savedMsPerSecond: 0 },
    },
  ]);
});

test('a large table that was never analysed is a blind spot', async () => {
  await session.execute(
    rawSql(
      'create table fresh with (autovacuum_enabled = false) as select i as id from generate_series(1, 60000) i',
    ),
  );
  const { findings, blindSpots } = await examined(async () => {
    for (let id = 0; id < 20; id += 1) await database.query(sql`select * from fresh where id = ${id}`);
  });
  expect(findings).toEqual([]);
  expect(blindSpots).toEqual(['public.fresh was never analysed; run `analyze public.fresh`']);
});

test('the missing index is named exactly, proved, and gone from the findings once it is there', async () => {
  const { findings, blindSpots } = await examined(async () => {
    await askByCustomer();
    // Read whole as well, and rightly: it is small, or most of it is wanted.
    for (let n = 0; n < 20; n += 1) {
      await database.query(sql`select * from small where name = ${`n${n}`}`);
      await database.query(sql`select count(*) from "Sales"."order" where state = 'new'`);
    }
  });
  expect(blindSpots).toEqual([]);
  expect(findings).toMatchObject([
    {
      rule: 'missing-index',
      table: 'Sales.order',
      operations: ['orders.byCustomer'],
      statement: byCustomer,
      proved: true,
      fix: {
        sql: 'create index concurrently "order_by_customerId_at_id" on "Sales"."order" ("customerId", at desc, id desc);',
      },
    },
  ]);
  const { gain, evidence } = findings[0]!;
  expect(gain.after! / gain.before).toBeLessThan(0.5);
  expect(evidence.join('\n')).toMatch(/20 calls, each reading [\d,]+ blocks of 8 kB and answering 5\.0 rows/);
  expect(evidence.join('\n')).toMatch(/150,000 rows in [\d,]+ pages/);
  expect(await twins()).toBe(0);

  await session.execute(rawSql(findings[0]!.fix.sql!));
  expect(await examined(askByCustomer)).toEqual({ findings: [], blindSpots: [] });
});

test('a statement that cannot be explained is told as a blind spot, and the rest is examined', async () => {
  const statement = { text: 'select nothing from nowhere', calls: 10, totalMs: 100, rows: 0, blocks: 0 };
  const result = await findMissingIndexes({
    databaseUrl: url,
    statements: [statement],
    windowMs: 1_000,
    operationsOf: () => [],
    operationCostOf: () => undefined,
    verify: 'plimsoll load',
    signal: new AbortController().signal,
  });
  expect(result.findings).toEqual([]);
  expect(result.blindSpots).toEqual([
    expect.stringMatching(/could not be explained .*nowhere.*: select nothing from nowhere/),
  ]);
});
