import { sql } from 'plimsoll';
import { untilIdle } from 'plimsoll/testing';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { isDeclined } from '../bank/ledger.ts';
import { loyalty } from '../modules/loyalty/contract.ts';
import { orders } from '../modules/orders/contract.ts';
import { startFilledShop, type RunningShop } from './running-shop.ts';

let shop: RunningShop;

beforeAll(async () => {
  shop = await startFilledShop(inject('cluster'));
});
afterAll(() => shop[Symbol.asyncDispose]());

const lantern = { sku: '71053', quantity: 6 };
const holder = { sku: '85123A', quantity: 2 };

interface Placed {
  readonly orderId: number;
  readonly pence: number;
}

async function place(customerId: number | null, lines = [lantern, holder]): Promise<Placed> {
  const placed = await shop.app.call(orders.place, { customerId, country: 'France', lines });
  if (!placed.ok) throw new Error(placed.error);
  return placed.value;
}

const statusOf = async (orderId: number): Promise<string> =>
  (
    await shop.app.database.one<{ status: string }>(
      sql`select status from orders.orders where id = ${orderId}`,
    )
  ).status;
const availableOf = async (sku: string): Promise<number> =>
  (
    await shop.app.database.one<{ available: number }>(
      sql`select available from inventory.stock where sku = ${sku}`,
    )
  ).available;

/** Which charges the bank declines is fixed by the order's number. */
const accepted = (orderId: number): boolean => !isDeclined(`charge-${orderId}`);

test('an order drives itself until it is shipped: charged once, mailed twice, points added', async () => {
  const before = await shop.app.call(loyalty.standing, { customerId: 12_583 });
  const { orderId, pence } = await place(12_583);
  await untilIdle(shop.app);
  expect(await statusOf(orderId)).toBe('shipped');
  expect((await shop.ledger()).get(`charge-${orderId}`)).toMatchObject({ pence, asks: 1 });
  const mails = await shop.mails();
  expect(mails.get(`<order-${orderId}.placed@shop.example>`)).toBe(1);
  expect(mails.get(`<order-${orderId}.shipped@shop.example>`)).toBe(1);
  // The replica may be a moment behind.
  await expect
    .poll(() => shop.app.call(loyalty.standing, { customerId: 12_583 }))
    .toMatchObject({ spentPence: before.spentPence + pence });
  const order = await shop.app.call(orders.byId, { orderId });
  expect(order).toMatchObject({ status: 'shipped', country: 'France', pence, customerId: 12_583 });
  expect(order?.tracking).toMatch(/^PL\d{10}$/);
  expect(order?.lines.map(({ sku, quantity }) => ({ sku, quantity }))).toEqual([lantern, holder]);
});

test('the newest order of a customer comes first, after it those of the data', async () => {
  const { orderId } = await place(17_850);
  await expect
    .poll(() => shop.app.call(orders.byCustomer, { customerId: 17_850, limit: 3 }))
    .toMatchObject([{ orderId, status: expect.any(String) }, { status: 'shipped' }, { status: 'shipped' }]);
  await untilIdle(shop.app);
});

test('a product that does not exist is a declared error, and nothing is written', async () => {
  const lines = [lantern, { sku: 'NOTHING', quantity: 1 }];
  const count = sql`select count(*)::int as count from orders.orders`;
  const before = await shop.app.database.one<{ count: number }>(count);
  expect(await shop.app.call(orders.place, { customerId: null, country: 'France', lines })).toEqual({
    ok: false,
    error: 'UnknownProduct',
    data: { skus: ['NOTHING'] },
  });
  expect(await shop.app.database.one(count)).toEqual(before);
});

test('an order of more than there is becomes rejected, is not charged, and takes no stock', async () => {
  const before = await availableOf(lantern.sku);
  const { orderId } = await place(null, [
    { sku: lantern.sku, quantity: 1 },
    { sku: holder.sku, quantity: 100_000 },
    { sku: holder.sku, quantity: 100_000 },
    { sku: holder.sku, quantity: 100_000 },
  ]);
  await untilIdle(shop.app);
  expect(await statusOf(orderId)).toBe('rejected');
  expect(await availableOf(lantern.sku)).toBe(before);
  expect((await shop.ledger()).has(`charge-${orderId}`)).toBe(false);
});

test('an order whose charge is declined gives its stock back', async () => {
  // The next number that the bank will decline.
  const { next } = await shop.app.database.one<{ next: number }>(
    sql`select max(id) + 1 as next from orders.orders`,
  );
  let declined = Math.max(next, 1_000_000);
  while (accepted(declined)) declined += 1;
  await shop.app.database.query(sql`select setval('orders.orders_id_seq', ${declined}, false)`);
  const before = await availableOf(lantern.sku);
  const { orderId } = await place(12_583);
  expect(orderId).toBe(declined);
  await untilIdle(shop.app);
  expect(await statusOf(orderId)).toBe('declined');
  expect(await availableOf(lantern.sku)).toBe(before);
});

test('through a bank that fails half of the time every order is charged exactly once', async () => {
  await shop.setBank({ mode: 'flaky' });
  const placed = await Promise.all(Array.from({ length: 20 }, () => place(null)));
  await untilIdle(shop.app, { timeoutMs: 60_000 });
  await shop.setBank({ mode: 'ok' });
  const ledger = await shop.ledger();
  for (const { orderId, pence } of placed) {
    expect(await statusOf(orderId)).toBe(accepted(orderId) ? 'shipped' : 'declined');
    expect(ledger.get(`charge-${orderId}`)).toMatchObject({ pence });
  }
  const asks = placed.map(({ orderId }) => ledger.get(`charge-${orderId}`)?.asks ?? 0);
  // Some were asked for again after the bank had charged, or this test tests nothing.
  expect(Math.max(...asks)).toBeGreaterThan(1);
});

test('a bank that hangs holds orders up, no connections, and they go on when it is back', async () => {
  await shop.setBank({ mode: 'hanging' });
  const placed = await Promise.all(Array.from({ length: 4 }, () => place(null)));
  await expect
    .poll(async () => Promise.all(placed.map(({ orderId }) => statusOf(orderId))), { timeout: 10_000 })
    .toEqual(['reserved', 'reserved', 'reserved', 'reserved']);
  await expect.poll(() => shop.app.taskCounts(), { timeout: 10_000 }).toMatchObject({ running: 4 });
  // Once all four wait for the bank, nothing of them is open.
  const open = (): Promise<unknown> =>
    shop.app.database.one(sql`
      select count(*)::int as open from pg_stat_activity
      where datname = current_database() and state = 'idle in transaction'`);
  await expect.poll(open, { timeout: 10_000 }).toEqual({ open: 0 });
  expect(await shop.app.taskCounts()).toMatchObject({ running: 4 });
  await shop.setBank({ mode: 'ok' });
  await untilIdle(shop.app);
  for (const { orderId } of placed)
    expect(await statusOf(orderId)).toBe(accepted(orderId) ? 'shipped' : 'declined');
});

test('a return is refunded once, however often it is asked for', async () => {
  const back = { returnId: 'return-1', customerId: 17_850, lines: [lantern] };
  const [first, second] = await Promise.all([
    shop.app.call(orders.returnItems, back),
    shop.app.call(orders.returnItems, back),
  ]);
  expect(first).toEqual(second);
  expect(first).toMatchObject({ ok: true, value: { returnId: 'return-1' } });
  await untilIdle(shop.app);
  expect((await shop.ledger()).get('refund-return-1')).toMatchObject({ kind: 'refund', asks: 1 });
});
