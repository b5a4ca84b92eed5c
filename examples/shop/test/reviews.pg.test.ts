import { sql } from 'plimsoll';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { reviews } from '../modules/reviews/contract.ts';
import { startShop, type RunningShop } from './running-shop.ts';

let shop: RunningShop;

beforeAll(async () => {
  shop = await startShop(inject('cluster'));
});
afterAll(() => shop[Symbol.asyncDispose]());

const write = (sku: string, customerId: number, stars: number): Promise<void> =>
  shop.app.call(reviews.write, { sku, customerId, stars, text: 'as described' });

test('the rating is that of all reviews, also when they are written and replaced at once', async () => {
  // 40 reviews by 10 customers of two products, each customer's in any order.
  await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      write(index % 2 === 0 ? 'A' : 'B', (index % 20) + 1, (index % 5) + 1),
    ),
  );
  const kept = sql`select sku, count, stars from reviews.ratings order by sku`;
  const counted = sql`
    select sku, count(*)::int as count, sum(stars)::int as stars from reviews.reviews group by sku order by sku`;
  const rows = await shop.app.database.query<{ count: number }>(kept);
  expect(rows).toEqual(await shop.app.database.query(counted));
  expect(rows.map(({ count }) => count)).toEqual([10, 10]);
});

test('a customer who writes again replaces the review, and nobody has rated an unknown product', async () => {
  await write('C', 1, 1);
  await write('C', 2, 4);
  await write('C', 1, 5);
  await expect.poll(() => shop.app.call(reviews.rating, { sku: 'C' })).toEqual({ count: 2, average: 4.5 });
  expect(await shop.app.call(reviews.rating, { sku: 'D' })).toEqual({ count: 0, average: null });
});
