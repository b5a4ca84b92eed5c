import { sql } from 'plimsoll';
import { untilIdle } from 'plimsoll/testing';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { isDeclined } from '../bank/ledger.ts';
import { createShopScenario } from '../traffic/scenario.ts';
import { startFilledShop, type RunningShop } from './running-shop.ts';

let shop: RunningShop;

beforeAll(async () => {
  shop = await startFilledShop(inject('cluster'));
});
afterAll(() => shop[Symbol.asyncDispose]());

test('every visit of the week is answered, and every order ends: shipped and charged once, or declined', async () => {
  const scenario = await createShopScenario();
  const week = Array.from({ length: 464 }, (_, index) => scenario.session(index, Math.random));
  const answers = new Map<string, number>();
  // Eight customers at a time, none of them stopping to think.
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let session = week.pop(); session !== undefined; session = week.pop()) {
        for (const { operation, method, path, body } of session) {
          const headers = body === undefined ? {} : { 'content-type': 'application/json' };
          const response = await fetch(shop.app.url + path, { method, headers, body: body ?? null });
          await response.arrayBuffer();
          const answer = `${operation} ${response.status}`;
          answers.set(answer, (answers.get(answer) ?? 0) + 1);
        }
      }
    }),
  );
  expect([...answers.keys()].toSorted((left, right) => left.localeCompare(right))).toEqual([
    'catalog.page 200',
    'catalog.search 200',
    'orders.byCustomer 200',
    'orders.place 201',
    'orders.returnItems 201',
    'reviews.write 204',
  ]);

  await untilIdle(shop.app);
  const placed = await shop.app.database.query<{ id: number; status: string; pence: number }>(
    sql`select id, status, pence from orders.orders where id >= 1000000`,
  );
  expect(placed.length).toBe(answers.get('orders.place 201'));
  const ledger = await shop.ledger();
  for (const { id, status, pence } of placed) {
    expect(status).toBe(isDeclined(`charge-${id}`) ? 'declined' : 'shipped');
    expect(ledger.get(`charge-${id}`)).toMatchObject({ pence, asks: 1 });
  }
  const shipped = placed.filter(({ status }) => status === 'shipped').length;
  const mails = await shop.mails();
  expect(mails.size).toBe(placed.length + shipped);
  expect(Math.max(...mails.values())).toBe(1);
}, 180_000);
