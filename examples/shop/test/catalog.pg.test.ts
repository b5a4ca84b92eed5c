import fc from 'fast-check';
import { sql } from 'plimsoll';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { catalog } from '../modules/catalog/contract.ts';
import { orders } from '../modules/orders/contract.ts';
import { startFilledShop, type RunningShop } from './running-shop.ts';

let shop: RunningShop;

beforeAll(async () => {
  shop = await startFilledShop(inject('cluster'));
});
afterAll(() => shop[Symbol.asyncDispose]());

test('words are found by their beginnings, by number too, and there is a limit', async () => {
  const found = await shop.app.call(catalog.search, { text: 'White HEART hold' });
  expect(found.map(({ sku }) => sku)).toContain('85123A');
  for (const { description } of found) expect(description).toMatch(/WHITE.*HEART|HEART.*WHITE/);
  expect(await shop.app.call(catalog.search, { text: '85123a' })).toHaveLength(1);
  expect(await shop.app.call(catalog.search, { text: 'set', limit: 7 })).toHaveLength(7);
  expect(await shop.app.call(catalog.search, { text: '&|!' })).toEqual([]);
});

test('any text can be searched for', async () => {
  const text = fc
    .string({ minLength: 2, maxLength: 30, unit: 'grapheme' })
    .filter((some) => some.trim().length > 1);
  await fc.assert(
    fc.asyncProperty(text, async (some) => {
      const short = some.trim().slice(0, 100);
      expect(Array.isArray(await shop.app.call(catalog.search, { text: short }))).toBe(true);
    }),
    // What breaks a query language, next to anything at all.
    { numRuns: 200, examples: [["'; --"], [':* & !'], ['\\\\ <->'], ['½ ²'], ['a\u0301b'], ["l'été"]] },
  );
});

test('the search can use its index, which pays once there are more products than fit a few pages', async () => {
  const plan = await shop.app.database.transaction(async (tx) => {
    await tx.execute(sql`set local enable_seqscan = off`);
    await tx.execute(sql`set local enable_indexscan = off`);
    return tx.query(sql`
      explain select sku from catalog.products where words @@ to_tsquery('simple', 'babushka:*') order by sku limit 20`);
  });
  expect(JSON.stringify(plan)).toContain('products_words');
});

test('prices can be changed, the last of a product counts, and a later order has the new one', async () => {
  await shop.app.call(catalog.upsertMany, {
    products: [
      { sku: 'NEW', description: 'GLASS TEST LANTERN', pence: 100 },
      { sku: 'NEW', description: 'GLASS TEST LANTERN', pence: 150 },
    ],
  });
  await expect
    .poll(() => shop.app.call(catalog.search, { text: 'lant gla test' }))
    .toEqual([{ sku: 'NEW', description: 'GLASS TEST LANTERN', pence: 150 }]);
  const lines = [{ sku: 'NEW', quantity: 2 }];
  expect(await shop.app.call(orders.place, { customerId: null, country: 'France', lines })).toMatchObject({
    ok: true,
    value: { pence: 300 },
  });
});

test('a product page has the product, its stock and its rating; one that is not there has nothing', async () => {
  const response = await fetch(`${shop.app.url}/products/85123A`);
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({
    sku: '85123A',
    description: 'WHITE HANGING HEART T-LIGHT HOLDER',
    rating: { count: 0, average: null },
    available: 200 * 1_009,
  });
  expect(await shop.app.call(catalog.page, { sku: 'NOTHING' })).toBeNull();
});
