import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { untilIdle } from 'plimsoll/testing';
import {
  cached,
  command,
  contract,
  createApp,
  createContext,
  event,
  module,
  plan,
  query,
  route,
  runInContext,
  sql,
  view,
  type App,
  type PlanOptions,
} from '../index.ts';
import { Seen } from '../kernel/seen.ts';

const placed = z.object({ id: z.number(), customer: z.string(), total: z.number() });
// #region contract
const orders = contract('orders', {
  place: command({ input: placed, output: z.object({ orders: z.number() }) }),
  placed: event({ payload: placed, key: ({ customer }) => customer }),
  summary: query({
    input: z.object({ customer: z.string() }),
    output: z.object({ orders: z.number(), total: z.number() }),
  }),
  // #endregion
  careless: query({ input: z.object({}), output: z.number() }),
  curious: query({ input: z.object({}), output: z.number() }),
  meddle: command({ input: z.object({}) }),
  decide: command({ input: z.object({ customer: z.string() }), output: z.number() }),
  peek: command({ input: z.object({}) }),
});

// #region view
const customerOrders = view('customer_orders', {
  version: 1,
  key: { customer: 'text' },
  columns: { orders: 'int', total: 'bigint' },
  initial: { orders: 0, total: 0 },
  fold: (on) => [
    on(
      orders.placed,
      ({ customer }) => ({ customer }),
      (row, { total }) => ({ orders: row.orders + 1, total: row.total + total }),
    ),
  ],
});
// #endregion

const count = sql`select count(*)::int as n from orders.customer_orders`;
// #region module
const ordersModule = module(orders, {
  owns: { schema: 'orders' },
  views: [customerOrders],
  reads: { summary: [customerOrders] },
  queries: {
    async summary({ customer }, { db }) {
      const row = await db.maybeOne<{ orders: number; total: number }>(
        sql`select orders, total from orders.customer_orders where customer = ${customer}`,
      );
      return row ?? { orders: 0, total: 0 };
    },
    // #endregion
    careless: async (_input, { db }) => (await db.one<{ n: number }>(count)).n,
    curious: async (_input, { db }) =>
      (await db.one<{ n: number }>(sql`select count(*)::int as n from orders.customer_orders_v1`)).n,
  },
  commands: {
    async place(order, { emit }) {
      emit(orders.placed, order);
      return { orders: 1 };
    },
    meddle: async (_input, { tx }) => void (await tx.execute(sql`delete from orders.customer_orders`)),
    peek: async (_input, { tx }) => void (await tx.one(count)),
    async decide({ customer }, { call }) {
      return (await call(orders.summary, { customer })).orders;
    },
  },
});

let server: TestDatabase;
const apps: App[] = [];

beforeEach(async () => {
  server = await createTestDatabase(inject('cluster'));
});
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.stop()));
  await server.drop();
});

const planned = (more: Partial<PlanOptions> = {}) =>
  plan({
    name: 'views',
    modules: [ordersModule],
    http: { port: 0, routes: [route('/orders', orders.place), route('/orders/:customer', orders.summary)] },
    // Other tests run beside.
    views: { waitMs: 10_000 },
    expectedPeak: { requestsPerSecond: 1 },
    objectives: { default: { p95Ms: 100, errorRate: 0 } },
    ...more,
  });
async function start(listen = false, more: Partial<PlanOptions> = {}): Promise<App> {
  const app = createApp(planned(more), { databaseUrl: server.url, listen });
  apps.push(app);
  await app.start();
  return app;
}
const client = <T>(work: () => Promise<T>): Promise<T> =>
  runInContext(createContext({ seen: new Seen() }), work);

describe('a module with a view', () => {
  test('answers each client with what it has written, over HTTP and through two processes', async () => {
    const two = [await start(true), await start(true)];
    let seen: Record<string, string> = {};
    for (let turn = 1; turn <= 6; turn += 1) {
      const [writes, reads] = [two[turn % 2] as App, two[(turn + 1) % 2] as App];
      const response = await fetch(`${writes.url}/orders`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...seen },
        body: JSON.stringify({ id: turn, customer: 'ada', total: 10 }),
      });
      expect(response.status).toBe(200);
      seen = { 'plimsoll-seen': response.headers.get('plimsoll-seen') as string };
      const answer = await fetch(`${reads.url}/orders/ada`, { headers: seen });
      expect(await answer.json()).toEqual({ orders: turn, total: 10 * turn });
      seen = { 'plimsoll-seen': answer.headers.get('plimsoll-seen') ?? (seen['plimsoll-seen'] as string) };
    }
  });

  test('decides by all that was committed, where a command asks a query that reads the view', async () => {
    const app = await start();
    for (let turn = 1; turn <= 5; turn += 1) {
      await client(() => app.call(orders.place, { id: turn, customer: 'bob', total: 1 }));
      expect(await client(() => app.call(orders.decide, { customer: 'bob' }))).toBe(turn);
    }
  });

  test('refuses what reads past the wait, or writes', async () => {
    const app = await start();
    const refused = [
      [orders.careless, /^orders.careless reads the view orders.customer_orders .* add reads: \{ careless/],
      [orders.curious, /^orders.curious reads orders.customer_orders_v1, a table of one version/],
      [orders.meddle, /^orders.meddle writes to orders.customer_orders/],
      [orders.peek, /^orders.peek reads the view orders.customer_orders, .* must not decide by it/],
    ] as const;
    for (const [operation, message] of refused)
      await expect(app.call(operation, {})).rejects.toMatchObject({
        code: 'PL_VIEW_USE',
        message: expect.stringMatching(message) as string,
      });
  });

  test('tells how far each view is, and how often readers waited', async () => {
    const app = await start();
    await client(async () => {
      await app.call(orders.place, { id: 1, customer: 'eve', total: 1 });
      await app.call(orders.summary, { customer: 'eve' });
    });
    await untilIdle(app);
    const { views } = await app.telemetry();
    expect(views).toMatchObject({
      asked: 1,
      late: 0,
      tables: [{ name: 'customer_orders', version: 1, state: 'live', behind: 0, behindSeconds: 0 }],
    });
    const metrics = await app.metrics();
    const labels = '{view="orders.customer_orders",version="1",state="live"}';
    expect(metrics).toContain(`plimsoll_view_behind${labels} 0`);
    expect(metrics).toMatch(/plimsoll_view_lag_seconds\{[^}]+\} 0/);
    expect(metrics).toContain('plimsoll_view_reads_total 1');
    expect(metrics).toContain(`plimsoll_view_stuck_ratio${labels} 0`);
    expect(metrics).toMatch(
      /plimsoll_view_reads_late_total 0\n[^]*plimsoll_view_reads_wait_seconds_total [\d.]+\n/,
    );
  });

  test('runs as the role of its module', async () => {
    const app = await start(false, { boundaries: { roles: true } });
    await client(async () => {
      await app.call(orders.place, { id: 1, customer: 'roy', total: 1 });
      expect(await app.call(orders.summary, { customer: 'roy' })).toEqual({ orders: 1, total: 1 });
    });
  });
});

test('a plan is refused that caches what reads a view, or has views that do not fit', () => {
  expect(() =>
    planned({ cache: { queries: [cached(orders.summary, { ttlMs: 1_000, tags: () => ['a'] })] } }),
  ).toThrow(/orders.summary reads the view orders.customer_orders/);
  expect(() => planned({ views: { waitMs: -1, batch: 0 } })).toThrow(/views.waitMs.*\n.*views.batch/s);
  const foreign = contract('foreign', { said: event({ payload: z.object({}) }) });
  const unlisted = view('unlisted', {
    version: 1,
    key: { a: 'text' },
    columns: {},
    initial: {},
    fold: (on) => [
      on(
        foreign.said,
        () => undefined,
        (row) => row,
      ),
    ],
  });
  const empty = contract('empty', { ask: query({ input: z.object({}), output: z.number() }) });
  const wrong = module(empty, {
    owns: { tables: ['old.things'] },
    views: [unlisted],
    reads: { ask: [customerOrders] },
    queries: { ask: async () => 1 },
  });
  expect(() => planned({ modules: [wrong], http: { port: 0 } })).toThrow(
    /unlisted: is made from foreign.said, but foreign is not in uses\n.*reads.ask: old.customer_orders is not among/s,
  );
  expect(wrong.ownsTable('old', 'unlisted_v1')).toBe(true);
  expect(wrong.ownsTable('old', 'unlisted2')).toBe(false);
});
