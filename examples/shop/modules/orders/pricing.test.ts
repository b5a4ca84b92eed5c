import { expect, test } from 'vitest';
import { priceLines } from './pricing.ts';

const products = [
  { sku: 'A', pence: 255 },
  { sku: 'B', pence: 0 },
];

test('lines stay as they are, also when they name a product twice; the total is exact', () => {
  const lines = [
    { sku: 'A', quantity: 3 },
    { sku: 'B', quantity: 9 },
    { sku: 'A', quantity: 1 },
  ];
  expect(priceLines(lines, products)).toEqual({
    ok: true,
    lines: [
      { sku: 'A', quantity: 3, pence: 255 },
      { sku: 'B', quantity: 9, pence: 0 },
      { sku: 'A', quantity: 1, pence: 255 },
    ],
    pence: 1_020,
  });
});

test('every unknown product is named once', () => {
  const lines = ['X', 'A', 'Y', 'X'].map((sku) => ({ sku, quantity: 1 }));
  expect(priceLines(lines, products)).toEqual({ ok: false, unknown: ['X', 'Y'] });
});
