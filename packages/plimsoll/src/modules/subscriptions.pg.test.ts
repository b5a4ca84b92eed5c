import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import { createContext } from '../kernel/context.ts';
import { insertEvents } from '../outbox/events.ts';
import { newEvent } from '../outbox/new-event.ts';
import { parkedDeliveries, retryParked, skipParked } from '../outbox/parked.ts';
import { contract, event } from './contract.ts';
import { module } from './module.ts';

const orders = contract('orders', {
  changed: event({
    payload: z.object({ orderId: z.string(), n: z.number() }),
    key: ({ orderId }) => orderId,
  }),
  keyless: event({ payload: z.object({}) }),
});
const ledger = contract('ledger', {});

/** In the order in which effects were committed. */
const effects = sql`select name, order_id as "orderId", n from ledger.entry order by seq`;
/** Events that a subscription refuses. */
const refused = new Set<string>();

const ledgerModule = module(ledger, {
  owns: { schema: 'ledger', migrations: new URL('./fixtures/ledger/', import.meta.url) },
  uses: [orders],
  // #region options
  on: (on) => [
    // Each order's events one at a time and in order; a parked one holds back the later ones of its order.
    on(orders.changed, { name: 'book', ordered: 'key', maxAttempts: 2 }, async (change, { tx }) => {
      if (refused.has(`book ${change.orderId} ${change.n}`)) throw new Error('not to be booked');
      await tx.execute(
        sql`insert into ledger.entry (name, order_id, n) values ('book', ${change.orderId}, ${change.n})`,
      );
    }),
    // The same, but what is parked is passed over.
    on(
      orders.changed,
      { name: 'index', ordered: 'key', onPark: 'skip', maxAttempts: 2 },
      async ({ orderId, n }, { tx }) => {
        if (refused.has(`index ${orderId} ${n}`)) throw new Error('not to be indexed');
        await tx.execute(
          sql`insert into ledger.entry (name, order_id, n) values ('index', ${orderId}, ${n})`,
        );
      },
    ),
    // New today, and wants all that the log has.
    on(orders.changed, { name: 'count', from: 'beginning' }, async ({ orderId, n }, { tx }) => {
      await tx.execute(sql`insert into ledger.entry (name, order_id, n) values ('count', ${orderId}, ${n})`);
    }),
  ],
  // #endregion
});
const ordersModule = module(orders, { owns: { schema: 'orders' } });

let server: TestDatabase;
let app: App;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'subscriptions-test',
      modules: [ordersModule, ledgerModule],
      worker: { pollMs: 20, backoff: { baseMs: 1, maxMs: 5 } },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: server.url, listen: false },
  );
  await app.start();
});
afterAll(async () => {
  await app.stop();
  await server.drop();
});

const change = (orderId: string, ...ns: readonly number[]): Promise<number> =>
  app.database.execute(
    insertEvents(ns.map((n) => newEvent(createContext(), orders.changed, { orderId, n }))),
  );
const of = async (name: string, orderId: string): Promise<number[]> =>
  (await app.database.query<{ name: string; orderId: string; n: number }>(effects))
    .filter((entry) => entry.name === name && entry.orderId === orderId)
    .map(({ n }) => n);

test('events of one key come in the order of the log; a failure of one holds the key until it succeeds', async () => {
  refused.add('book a 2');
  await change('a', 1, 2, 3);
  await change('b', 1, 2);
  await expect.poll(() => of('book', 'b'), { timeout: 10_000 }).toEqual([1, 2]);
  // Parked after its second try, and what comes after it waits.
  await expect
    .poll(() => parkedDeliveries(app.database, { subscription: 'ledger.book' }, 10), { timeout: 10_000 })
    .toMatchObject([{ key: 'a', attempts: 2, error: 'not to be booked' }]);
  await expect.poll(() => of('index', 'a'), { timeout: 10_000 }).toEqual([1, 2, 3]);
  expect(await of('book', 'a')).toEqual([1]);
  refused.clear();
  expect(await retryParked(app.database, { subscription: 'ledger.book', key: 'a' })).toBe(1);
  await expect.poll(() => of('book', 'a'), { timeout: 10_000 }).toEqual([1, 2, 3]);
});

test('what is skipped by hand lets the key go on', async () => {
  refused.add('book c 1');
  await change('c', 1, 2);
  await expect
    .poll(() => parkedDeliveries(app.database, { key: 'c' }, 10), { timeout: 10_000 })
    .toHaveLength(1);
  expect(await skipParked(app.database, { key: 'c' }, { by: 'ada', why: 'a test' })).toBe(1);
  await expect.poll(() => of('book', 'c'), { timeout: 10_000 }).toEqual([2]);
});

test('with onPark skip the later events of the key do not wait for somebody', async () => {
  refused.add('index d 1');
  await change('d', 1, 2);
  await expect.poll(() => of('index', 'd'), { timeout: 10_000 }).toEqual([2]);
  expect(await parkedDeliveries(app.database, { key: 'd' }, 10)).toMatchObject([
    { subscription: 'ledger.index' },
  ]);
});

test('options that cannot hold are refused with what to do', () => {
  const with_ = (options: object, of_ = orders.changed): (() => unknown) => {
    const wrong = module(contract('wrong', {}), {
      owns: { schema: 'wrong' },
      uses: [orders],
      on: (on) => [on(of_, { name: 'x', ...options }, async () => undefined)],
    });
    return () =>
      plan({
        name: 'wrong',
        modules: [ordersModule, wrong],
        expectedPeak: { requestsPerSecond: 1 },
        objectives: { default: { p95Ms: 1, errorRate: 0 } },
      });
  };
  expect(with_({ ordered: 'key' }, orders.keyless as never)).toThrow(
    'orders.keyless has none; give the event `key:',
  );
  expect(with_({ onPark: 'skip' })).toThrow('together with ordered: "key"');
  expect(with_({ ordered: 'time' })).toThrow('ordered is "time"; want "key"');
  expect(with_({ from: 'yesterday' })).toThrow('from is "yesterday"; want "now", "beginning"');
  expect(with_({ from: { position: 0 } })).toThrow('{ position: <whole number from 1> }');
  expect(with_({ from: { time: 'soon' } })).toThrow('{ time: <Date or ISO 8601> }');
  expect(with_({ maxAttempts: 0 })).toThrow('maxAttempts is 0');
  expect(with_({ ordered: 'key', onPark: 'skip', from: { time: '2026-01-31' } })).not.toThrow();
});
