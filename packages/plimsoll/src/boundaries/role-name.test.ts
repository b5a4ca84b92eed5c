import { expect, test } from 'vitest';
import { roleName } from './role-name.ts';

test('a role is named after its database and its module', () => {
  expect(roleName('shop', 'orders')).toBe('plimsoll.shop.orders');
  expect(roleName('Shop "old"', 'orderLines')).toBe('plimsoll.Shop "old".orderLines');
});

test('a name that PostgreSQL would cut is cut here, on a whole character, and stays its own', () => {
  const long = 'ä'.repeat(40);
  const names = [roleName(long, 'orders'), roleName(long, 'stock'), roleName(`${long}x`, 'orders')];
  expect(new Set(names).size).toBe(3);
  for (const name of names) {
    expect(Buffer.byteLength(name)).toBeLessThanOrEqual(63);
    expect(name).toMatch(/^plimsoll\.ä+\.[0-9a-f]{16}$/);
  }
  expect(roleName(long, 'orders')).toBe(names[0]);
});
