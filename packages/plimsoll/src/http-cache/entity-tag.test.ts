import { expect, test } from 'vitest';
import { entityTag, isNoneMatch } from './entity-tag.ts';

const etag = entityTag('body');

test('a body has one tag, the same as text and as bytes, and another has another', () => {
  expect(etag).toMatch(/^W\/"[\w-]{27}"$/);
  expect(entityTag(Buffer.from('body'))).toBe(etag);
  expect(entityTag('Body')).not.toBe(etag);
});

test.each([
  ['it', etag, true],
  ['it as a strong one', etag.slice(2), true],
  ['it at the end of a list', `W/"a", "b" ,${etag}`, true],
  ['it at the beginning of a list', `${etag},"b"`, true],
  ['it after one that holds a comma and what looks like a tag', `"a,W/b", ${etag}`, true],
  ['anything', ' * ', true],
  ['another', '"a"', false],
  ['nothing', '', false],
  ['no field', undefined, false],
  ['it without quotes', etag.slice(3, -1), false],
  ['it inside of another', `"x${etag.slice(3)}`, false],
  ['it behind something that is no tag', `x${etag.slice(2)}`, false],
  ['anything in a list, which is no syntax', '"a", *', false],
])('If-None-Match with %s', (_what, field, expected) => {
  expect(isNoneMatch(field, etag)).toBe(expected);
});
