import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { isPlimsollError } from './errors.ts';
import { jsonCopy } from './json-copy.ts';

class Money {
  readonly pence = 1;
}
const circle: Record<string, unknown> = {};
circle['self'] = { circle };

describe('what JSON would drop or change in silence is refused, with its path', () => {
  test.each<[unknown, string, string]>([
    [new Map([['a', 1]]), '', 'an instance of Map'],
    [{ lines: [{ tags: new Set() }] }, 'lines.0.tags', 'an instance of Set'],
    [{ price: new Money() }, 'price', 'an instance of Money'],
    [{ bytes: new Uint8Array(2) }, 'bytes', 'an instance of Uint8Array'],
    [[1, undefined, 3], '1', 'undefined'],
    // oxlint-disable-next-line no-sparse-arrays
    [{ list: [1, , 3] }, 'list.1', 'undefined'],
    [{ n: Number.NaN }, 'n', 'NaN'],
    [{ n: -Infinity }, 'n', '-Infinity'],
    [{ n: 1n }, 'n', 'a bigint'],
    [{ run: () => 1 }, 'run', 'a function'],
    [{ mark: Symbol('x') }, 'mark', 'a symbol'],
    [circle, 'self.circle', 'an object that contains itself'],
    [{ boxed: Object(1) as unknown }, 'boxed', 'an instance of Number'],
    [{ wrapped: { toJSON: () => ({ deep: new Map() }) } }, 'wrapped.deep', 'an instance of Map'],
  ])('%o', (value, path, found) => {
    let thrown: unknown;
    try {
      jsonCopy(value, 'input of a.b');
    } catch (error) {
      thrown = error;
    }
    expect(isPlimsollError(thrown, 'PL_PAYLOAD_INVALID')).toBe(true);
    expect(thrown).toMatchObject({ data: { path, found } });
    expect((thrown as Error).message).toMatch(/^input of a\.b is not JSON: /);
  });
});

test('a value with a JSON form of its own arrives in that form', () => {
  const at = new Date(0);
  expect(jsonCopy({ at, url: new URL('https://a.example/') }, 'x')).toEqual({
    at: '1970-01-01T00:00:00.000Z',
    url: 'https://a.example/',
  });
});

test('an absent value stays absent; an undefined property is left out', () => {
  expect(jsonCopy(undefined, 'x')).toBeUndefined();
  expect(Object.keys(jsonCopy({ a: undefined, b: null }, 'x') as object)).toEqual(['b']);
});

test('plain objects of another realm and without prototype pass; the same object twice is no cycle', () => {
  const foreign: unknown = runInNewContext('({ a: [1] })');
  const shared = { n: 1 };
  const bare = Object.assign(Object.create(null) as object, { shared, again: shared });
  expect(jsonCopy({ foreign, bare }, 'x')).toEqual({
    foreign: { a: [1] },
    bare: { shared: { n: 1 }, again: { n: 1 } },
  });
});

test('the given value is neither frozen nor changed, and shares nothing with the copy', () => {
  const given = { list: [{ n: 1 }], at: new Date(5) };
  const copy = jsonCopy(given, 'x') as typeof given;
  expect(Object.isFrozen(given) || Object.isFrozen(given.list)).toBe(false);
  copy.list[0]!.n = 2;
  given.list.push({ n: 3 });
  expect(given).toEqual({ list: [{ n: 1 }, { n: 3 }], at: new Date(5) });
  expect(copy.list).toEqual([{ n: 2 }]);
});
