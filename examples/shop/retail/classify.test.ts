import { expect, test } from 'vitest';
import { classify } from './classify.ts';
import type { RetailRow } from './rows.ts';
import { readWeek } from './week.ts';

const row: RetailRow = {
  invoice: '536365',
  code: '85123A',
  description: 'WHITE HANGING HEART T-LIGHT HOLDER',
  quantity: 6,
  at: '2010-12-01T08:26:00Z',
  pence: 255,
  customerId: 17850,
  country: 'United Kingdom',
};

test.each<[string, Partial<RetailRow>, ReturnType<typeof classify>]>([
  ['a sale', {}, { kind: 'sale', trade: row }],
  [
    'a cancellation, its pieces counted positive',
    { invoice: 'C536383', quantity: -6 },
    { kind: 'return', trade: { ...row, invoice: 'C536383', quantity: 6 } },
  ],
  ['postage', { code: 'POST' }, { kind: 'skipped', reason: 'postage' }],
  ['carriage', { code: 'C2' }, { kind: 'skipped', reason: 'postage' }],
  ['an adjustment', { code: 'M' }, { kind: 'skipped', reason: 'manual adjustment' }],
  ['a discount, also when cancelled', { code: 'D', invoice: 'C1' }, { kind: 'skipped', reason: 'discount' }],
  ['a fee', { code: 'AMAZONFEE' }, { kind: 'skipped', reason: 'bank or marketplace fee' }],
  ['a voucher', { code: 'GIFT_0001_20' }, { kind: 'skipped', reason: 'sample, voucher or donation' }],
  ['some other code', { code: 'PADS' }, { kind: 'skipped', reason: 'unknown code' }],
  ['a negative sale', { quantity: -10, description: '' }, { kind: 'skipped', reason: 'stock correction' }],
  ['no description', { description: '', pence: 0 }, { kind: 'skipped', reason: 'no description' }],
  ['no price', { pence: 0 }, { kind: 'skipped', reason: 'zero price' }],
])('%s', (_what, change, expected) => {
  expect(classify({ ...row, ...change })).toEqual(expected);
});

test('every row of the file is sold, returned or skipped for a reason', async () => {
  const week = await readWeek();
  const lines = (invoices: typeof week.orders): number =>
    invoices.reduce((sum, invoice) => sum + invoice.lines.length, 0);
  expect({
    ...week,
    products: week.products.size,
    customers: week.customers.size,
    orders: week.orders.length,
    returns: week.returns.length,
  }).toEqual({
    rows: 10_000,
    skipped: {
      postage: 25,
      'manual adjustment': 10,
      discount: 2,
      'bank or marketplace fee': 1,
      'sample, voucher or donation': 0,
      'unknown code': 0,
      'stock correction': 30,
      'no description': 13,
      'zero price': 3,
    },
    products: 1_967,
    customers: 322,
    orders: 423,
    returns: 41,
  });
  expect([lines(week.orders), lines(week.returns)]).toEqual([9_818, 98]);
  const skipped = Object.values(week.skipped).reduce((sum, count) => sum + count, 0);
  expect(9_818 + 98 + skipped).toBe(10_000);
});

test('of several descriptions and prices of a product the latest counts', async () => {
  const { products } = await readWeek();
  // Also sold as GLASS BELL JAR SMALL, and booked as "amazon" for nothing.
  expect(products.get('22778')?.description).toBe('GLASS CLOCHE SMALL');
  expect(products.get('22139')?.description).toBe('RETROSPOT TEA SET CERAMIC 11 PC');
  expect(products.get('85123A')?.sold).toBeGreaterThan(0);
  expect([...products.keys()].filter((sku) => sku !== sku.toUpperCase())).toEqual([]);
});
