import { describe, expect, test } from 'vitest';
import { readKey } from './key.ts';

describe('Idempotency-Key', () => {
  test.each([
    ['8e03978e-40d5-43dd-bc93-6894a57f9324', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['  k  ', 'k'],
    ['a "b" c', 'a "b" c'],
    [String.raw`"a \"b\" \\ c"`, String.raw`a "b" \ c`],
    ['"k"; p=1', 'k'],
    ['x'.repeat(255), 'x'.repeat(255)],
  ])('%j is the key %j', (field, key) => {
    expect(readKey(field)).toEqual({ is: 'key', key });
  });

  test.each([
    ['', /empty/],
    ['   ', /empty/],
    ['""', /empty/],
    ['"', /no string/],
    ['"a', /no string/],
    ['"a"b', /no string/],
    [String.raw`"a\b"`, /no string/],
    ['x'.repeat(256), /256 characters, and 255/],
    ['é', /ASCII/],
    ['a\tb', /ASCII/],
    [['a', 'b'], /more than once/],
  ])('%j is none', (field, why) => {
    expect(readKey(field)).toEqual({ is: 'unreadable', why: expect.stringMatching(why) as string });
  });

  test('none was sent', () => {
    expect(readKey(undefined)).toEqual({ is: 'none' });
  });
});
