import { expect, test } from 'vitest';
import { prefixQuery } from './prefix-query.ts';

test('each word is a beginning, and operators are not let through', () => {
  expect(prefixQuery('White  HEART')).toBe('white:* & heart:*');
  expect(prefixQuery("T-Light & !'x' | (y):*")).toBe('t:* & light:* & x:* & y:*');
  expect(prefixQuery('&|! ()')).toBeUndefined();
});
