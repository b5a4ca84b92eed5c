import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jsonCopy } from './json-copy.ts';

test('every JSON value passes and arrives as it was', () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
      expect(jsonCopy(value, 'x')).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test('what passes is what JSON carries: parsing what was sent gives the copy, and the copy passes again', () => {
  fc.assert(
    fc.property(fc.anything({ withMap: true, withSet: true, withDate: true, withBigInt: true }), (value) => {
      let copy: unknown;
      try {
        copy = jsonCopy(value, 'x');
      } catch {
        return;
      }
      expect(copy).toEqual(value === undefined ? undefined : JSON.parse(JSON.stringify(value)));
      expect(jsonCopy(copy, 'x')).toEqual(copy);
    }),
  );
});
