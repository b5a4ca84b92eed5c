import { describe, expect, test } from 'vitest';
import { createContext, type RequestContext } from '../kernel/context.ts';
import { InvalidationCheck, type CheckedQuery } from './invalidation-check.ts';

const context = (...path: readonly string[]): RequestContext => createContext({ path });
const query = (id: string, options: CheckedQuery['options'] = {}): CheckedQuery => ({
  operation: { id },
  options,
});
const checkOf = (...queries: readonly CheckedQuery[]): InvalidationCheck =>
  new InvalidationCheck({ queries, scope: {}, refuse: false });

function read(check: InvalidationCheck, id: string, table: string, tags: readonly string[]): void {
  check.touched(context(id), [{ table, written: false }]);
  check.loaded(id, tags);
}
function write(check: InvalidationCheck, id: string, table: string, tags: readonly string[]): void {
  const own = context(id);
  check.touched(own, [{ table, written: true }]);
  check.committing(id, own, tags);
}
const pairs = (check: InvalidationCheck): readonly string[] =>
  check.found.map(({ query: id, writer, table }) => `${writer} ${table} ${id}`);

describe('the check of invalidations', () => {
  test.each([
    [
      'the read first',
      (check: InvalidationCheck) => [read(check, 'a.q', 't.x', ['x:1']), write(check, 'a.w', 't.x', [])],
    ],
    [
      'the write first',
      (check: InvalidationCheck) => [write(check, 'a.w', 't.x', []), read(check, 'a.q', 't.x', ['x:1'])],
    ],
    [
      'tags of another family',
      (check: InvalidationCheck) => [read(check, 'a.q', 't.x', ['x:1']), write(check, 'a.w', 't.x', ['y:1'])],
    ],
    [
      'one time of two',
      (check: InvalidationCheck) => [
        write(check, 'a.w', 't.x', ['x:1']),
        write(check, 'a.w', 't.x', []),
        read(check, 'a.q', 't.x', ['x:1']),
      ],
    ],
  ])('finds a writer that invalidated nothing of the query: %s', (_name, act) => {
    const check = checkOf(query('a.q'));
    act(check);
    expect(pairs(check)).toEqual(['a.w t.x a.q']);
  });

  test.each([
    [
      'another tag of the family',
      (check: InvalidationCheck) => [read(check, 'a.q', 't.x', ['x:1']), write(check, 'a.w', 't.x', ['x:2'])],
    ],
    [
      'another table',
      (check: InvalidationCheck) => [read(check, 'a.q', 't.x', ['x:1']), write(check, 'a.w', 't.y', [])],
    ],
    [
      'a table that is only read',
      (check: InvalidationCheck) => [read(check, 'a.q', 't.x', ['x:1']), read(check, 'a.w', 't.x', [])],
    ],
    ['a query that is not loaded', (check: InvalidationCheck) => [write(check, 'a.w', 't.x', [])]],
  ])('finds nothing in %s', (_name, act) => {
    const check = checkOf(query('a.q'));
    act(check);
    expect(check.found).toEqual([]);
  });

  test('lets through who does not change the answer, and a query that may be old', () => {
    const check = checkOf(
      query('a.q', { unaffectedBy: [{ id: 'a.w' }, 'a.react'] }),
      query('a.old', { untilTtl: true }),
    );
    read(check, 'a.q', 't.x', ['x:1']);
    read(check, 'a.old', 't.x', ['o:1']);
    write(check, 'a.w', 't.x', []);
    write(check, 'a.react', 't.x', []);
    expect(check.found).toEqual([]);
    write(check, 'a.v', 't.x', []);
    expect(pairs(check)).toEqual(['a.v t.x a.q']);
  });

  test('knows the tables of what a cached query asks, in a call or from what is kept', () => {
    const check = checkOf(query('a.outer'), query('b.inner'));
    // An inner query that is not cached reads in the path of the outer one.
    check.touched(context('a.outer', 'c.plain'), [{ table: 't.plain', written: false }]);
    check.asked('b.inner', ['a.outer', 'b.inner']);
    check.asked('a.outer', ['b.inner', 'a.outer']);
    read(check, 'b.inner', 't.x', ['x:1']);
    check.loaded('a.outer', ['o:1']);
    write(check, 'a.w', 't.plain', ['x:1']);
    write(check, 'a.w', 't.x', ['x:1']);
    expect(pairs(check)).toEqual(['a.w t.plain a.outer', 'a.w t.x a.outer']);
  });
});
