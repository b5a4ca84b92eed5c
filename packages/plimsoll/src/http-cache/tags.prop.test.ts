import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeTag, maxTagFieldBytes, tagFields } from './tags.ts';

const tag = fc.oneof(
  fc.string({ unit: 'binary', size: 'max', maxLength: 40 }),
  fc.string({ unit: fc.constantFrom(' ', ',', '%', '*', '.', '\n', 'a', 'A', ':', 'é', '2', '0', '~') }),
  fc.string({ minLength: 150, maxLength: 1_500, size: 'max' }),
);

describe('a tag', () => {
  test('has no separator, nothing that a regular expression reads, and is short', () => {
    fc.assert(
      fc.property(tag, (given) => {
        expect(encodeTag(given)).toMatch(/^[\w:/%-]{0,200}$|^~[\w-]{43}$/);
      }),
    );
  });

  test('stays another one than any other', () => {
    fc.assert(
      fc.property(tag, tag, (one, other) => {
        // Half of a surrogate pair is no text; both halves alone become the same mark.
        fc.pre(one.toWellFormed() !== other.toWellFormed());
        expect(encodeTag(one)).not.toBe(encodeTag(other));
      }),
    );
  });
});

test('fields hold each tag whole, once, or there are none', () => {
  fc.assert(
    fc.property(
      fc.array(
        tag.filter((text) => text !== ''),
        { minLength: 1, maxLength: 60, size: 'max' },
      ),
      (tags) => {
        const all = [...new Set(tags.map(encodeTag))];
        const fields = tagFields(tags);
        if (all.join(' ').length > maxTagFieldBytes) expect(fields).toBeUndefined();
        else {
          expect(fields?.['surrogate-key']?.split(' ')).toEqual(all);
          expect(fields?.['cache-tag']?.split(',')).toEqual(all);
        }
      },
    ),
  );
});

test.each([
  ['product:7', 'product:7'],
  ['eu/shop-1_a', 'eu/shop-1_a'],
  ['a b,c', 'a%20b%2Cc'],
  ['v1.2*', 'v1%2E2%2A'],
  ['für', 'f%C3%BCr'],
])('%s is %s', (given, encoded) => {
  expect(encodeTag(given)).toBe(encoded);
});
