import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase } from '@plimsoll/embedded';
import { background } from '../kernel/channels.ts';
import { command, contract, createApp, event, module, plan, query, sql, type App } from '../index.ts';
import { createDatabase, type Sql } from '../database/index.ts';
import { untilIdle } from '../testing/until-idle.ts';

let server: Awaited<ReturnType<typeof createTestDatabase>>;
const apps: App[] = [];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  await using database = createDatabase({ url: server.url });
  await database.execute(sql`create schema stock`);
  await database.execute(sql`create table stock.items (sku text primary key, available int not null)`);
  await database.execute(
    sql`create function stock.count() returns bigint language sql as 'select count(*) from stock.items'`,
  );
  await database.execute(sql`create schema sales`);
  await database.execute(sql`create table sales.orders (id int generated always as identity)`);
});
beforeEach(async () => {
  await using database = createDatabase({ url: server.url });
  await database.execute(sql`truncate stock.items, sales.orders`);
});
afterAll(async () => {
  for (const app of apps.toReversed()) await app.stop();
  await server.drop();
});

const sales = contract('sales', {
  write: command({ input: z.object({}) }),
  read: query({ input: z.object({}), output: z.array(z.unknown()) }),
  wrote: event({ payload: z.object({}) }),
});
const stock = contract('stock', {
  count: query({ input: z.object({}), output: z.object({ of: z.number() }) }),
});

/** An app whose `sales` runs the statements given, as a command, a query and a subscription. */
async function start(statement: Sql, statements?: 'refuse' | 'report' | 'off'): Promise<App> {
  const app = createApp(
    plan({
      name: 'guarded',
      modules: [
        module(sales, {
          owns: { schema: 'sales' },
          uses: [stock],
          commands: {
            async write(_input, { tx, emit }) {
              await tx.execute(sql`insert into sales.orders default values`);
              await tx.query(statement);
              emit(sales.wrote, {});
            },
          },
          queries: { read: (_input, { db }) => db.query(statement) },
          on: (on) => [
            on(sales.wrote, { name: 'react', maxAttempts: 1 }, async (_event, { call, tx }) => {
              await call(stock.count, {});
              await tx.query(sql`insert into sales.orders default values`);
            }),
          ],
        }),
        module(stock, {
          owns: { schema: 'stock' },
          queries: {
            count: (_input, { db }) =>
              db.one<{ of: number }>(sql`select stock.count() as of from stock.items limit 1`),
          },
        }),
      ],
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 100, errorRate: 0.01 } },
      ...(statements === undefined ? {} : { boundaries: { statements } }),
    }),
    { databaseUrl: server.url, listen: false },
  );
  apps.push(app);
  await app.start();
  return app;
}

const rows = async (app: App): Promise<number> =>
  (await app.database.one<{ n: number }>(sql`select count(*)::int as n from sales.orders`)).n;

describe('a statement of a handler', () => {
  test.each([
    ['reads', sql`select * from stock.items`, 'stock.items (owned by stock)'],
    [
      'joins',
      sql`with a as (select * from sales.orders) select * from a, stock.items i where i.sku = 'x' for update of i`,
      'stock.items (owned by stock)',
    ],
    ['writes', sql`update stock.items set available = ${0}`, 'stock.items (owned by stock)'],
    ['calls a function', sql`select stock.count()`, 'stock.count (owned by stock)'],
    ['touches a table of nobody', sql`select * from users`, 'public.users (owned by no module)'],
    ['touches the runtime', sql`delete from plimsoll.task`, 'plimsoll.task (owned by the runtime)'],
    [
      'hides itself',
      sql`do 'begin delete from stock.items; end'`,
      'a do block, whose statements cannot be seen',
    ],
  ])(
    'that %s outside its module is refused before it is sent, and everything is rolled back',
    async (_what, statement, wrong) => {
      await using app = await start(statement);
      const refusal = {
        code: 'PL_FOREIGN_TABLE',
        message: expect.stringContaining(`touches ${wrong}: a module touches only what it owns`) as string,
      };
      await expect(app.call(sales.write, {})).rejects.toMatchObject({
        ...refusal,
        data: { operation: 'sales.write', module: 'sales' },
      });
      await expect(app.call(sales.read, {})).rejects.toMatchObject(refusal);
      expect(await rows(app)).toBe(0);
    },
  );

  test('that names its own tables, the catalog and a temporary table is sent, with its events and its reaction', async () => {
    await using app = await start(
      sql`with orders as (select * from sales.orders) select relname, (select count(*) from orders) from pg_class, information_schema.tables limit 1`,
    );
    await app.database.execute(sql`insert into stock.items values ('a', 1)`);
    await app.call(sales.write, {});
    await untilIdle(app);
    expect(await rows(app)).toBe(2);
    expect(await app.taskCounts()).toMatchObject({ parked: 0 });
  });

  test('that PostgreSQL cannot read is answered by PostgreSQL', async () => {
    await using app = await start(sql`selec 1`);
    await expect(app.call(sales.write, {})).rejects.toMatchObject({ code: '42601' });
  });

  test('is only told of where findings are reported, once for each text', async () => {
    await using app = await start(sql`select * from stock.items`, 'report');
    const told: string[] = [];
    const stop = background.subscribe(({ scope, what, error }) => {
      if (scope === app.database.scope) told.push(`${what}: ${String(error)}`);
    });
    await app.call(sales.read, {});
    await app.call(sales.read, {});
    await app.call(sales.write, {});
    stop();
    expect(told).toEqual([
      expect.stringMatching(
        /^statement of sales\.read: PlimsollError: sales\.read touches stock\.items \(owned by stock\)/,
      ),
    ]);
  });

  test('is not looked at where the plan says so', async () => {
    await using app = await start(sql`select * from stock.items`, 'off');
    expect(await app.call(sales.read, {})).toEqual([]);
  });
});
