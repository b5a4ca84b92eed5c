import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalJson, fingerprintOf } from './fingerprint.ts';

/** The same value with the members of each object in another order. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  const turned = Object.create(null) as Record<string, unknown>;
  for (const [name, member] of Object.entries(value).toReversed()) turned[name] = reversed(member);
  return turned;
}

test('the order of members says nothing, and everything else does', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (one) => {
      expect(fingerprintOf(reversed(one))).toBe(fingerprintOf(one));
      expect(fingerprintOf(JSON.parse(JSON.stringify(one)))).toBe(fingerprintOf(one));
      expect(JSON.parse(canonicalJson(one))).toEqual(JSON.parse(JSON.stringify(one)));
    }),
  );
});

test('other values have other fingerprints', () => {
  const values = [
    null,
    0,
    '0',
    '',
    [],
    {},
    [0],
    ['0'],
    { a: 0 },
    { a: null },
    { b: 0 },
    [[]],
    { a: [] },
    { a: {} },
    [1, 2],
    [2, 1],
  ];
  expect(new Set(values.map(fingerprintOf)).size).toBe(values.length);
  expect(fingerprintOf(undefined)).toBe(fingerprintOf(null));
  expect(fingerprintOf(JSON.parse('{"__proto__":1}'))).not.toBe(fingerprintOf({}));
});
