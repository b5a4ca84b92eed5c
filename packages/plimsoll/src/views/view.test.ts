import { expect, test } from 'vitest';
import { z } from 'zod';
import { contract, event } from '../modules/contract.ts';
import { isPlimsollError, type Problem } from '../kernel/errors.ts';
import { valueProblem, type Column } from './columns.ts';
import { isOfView, placesProblems } from './place.ts';
import { view } from './view.ts';
import { levels, stock } from '../../test/views/stock.ts';

function problemsOf(declare: () => unknown): readonly string[] {
  try {
    declare();
  } catch (error) {
    if (!isPlimsollError(error, 'PL_CONFIG')) throw error;
    return (error.data['problems'] as Problem[]).map(({ path, message }) => `${path} ${message}`);
  }
  return [];
}

test('a declaration is refused with all that is wrong with it', () => {
  const other = contract('stock', { received: event({ payload: z.object({}) }) });
  const problems = problemsOf(() =>
    view('Levels', {
      version: 0,
      key: { sku: 'float' as 'text' },
      columns: { 'a b': 'int', n: 'money' as 'int', sku: 'text', ok: 'int' },
      indexes: [[], ['nowhere' as 'sku']],
      initial: { 'a b': 1.5, n: 0, sku: '', ok: 'x' as unknown as number },
      fold: (on) => [
        on(
          stock.received,
          ({ sku }) => ({ sku }),
          (state) => state,
        ),
        on(
          other.received,
          () => undefined,
          (state) => state,
        ),
      ],
    }),
  );
  expect(problems).toEqual([
    'name is "Levels"; want lower-case letters, digits and _, at most 48 of them',
    'version is 0; want a whole number from 1',
    'key.sku is "float"; want "text", "uuid", "int" or "bigint"',
    'columns.sku is in the key already',
    'columns.a b is "a b"; want lower-case letters, digits and _, at most 48 of them',
    'columns.n is "money", which is no type of a column',
    'indexes[0] is empty',
    'indexes[1] names "nowhere", which is no column of the view',
    'initial.a b is 1.5; want a whole number of 32 bits',
    'initial.ok is "x"; want a whole number of 32 bits',
    'events stock.received is of two contracts of one name; import the same one',
  ]);
  expect(
    problemsOf(() => view('empty', { version: 1, key: {}, columns: {}, events: [], apply: async () => {} })),
  ).toEqual(['key is empty; name at least one column', 'events there is none; a view is made of events']);
});

test('of several views each version is there once, and none is named as a table of another', () => {
  const place = (name: string, version = 1, schema = 's') => ({ schema, view: levels(name, version) });
  expect(placesProblems([place('a'), place('a', 2), place('a', 1, 't'), place('ab_v1')])).toEqual([]);
  expect(placesProblems([place('a'), place('a'), place('a_v1_2')])).toEqual([
    { path: 'views[1]', message: 'a version 1 is listed twice' },
    { path: 'views[2]', message: 'a_v1_2 is named as a table of a is, or the other way' },
    { path: 'views[2]', message: 'a_v1_2 is named as a table of a is, or the other way' },
  ]);
  expect(['a', 'a_v1', 'a_v12_3', 'a_v', 'ab', 'a_v1_', 'b_v1'].map((name) => isOfView('a', name))).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test.each<[Column, unknown]>([
  ['text', 'a\0b'],
  ['text', null],
  ['uuid', 'A1B2C3D4-0000-0000-0000-000000000000'],
  ['int', 2 ** 31],
  ['int', 1.5],
  ['bigint', 2 ** 53],
  ['double precision', Number.NaN],
  ['numeric', '1e3'],
  ['numeric', 1],
  ['boolean', 0],
  ['timestamptz', new Date(Number.NaN)],
  ['timestamptz?', undefined],
  ['jsonb', null],
  ['jsonb', () => 1],
])('a column %s does not take %j', (column, value) => {
  expect(valueProblem(column, value)).toMatch(/^is .*; want /);
});

test.each<[Column, unknown]>([
  ['text', ''],
  ['text?', null],
  ['uuid', 'a1b2c3d4-0000-0000-0000-000000000000'],
  ['int', -(2 ** 31)],
  ['bigint', 2 ** 53 - 1],
  ['numeric', '-12.50'],
  ['timestamptz', new Date(0)],
  ['jsonb', [null]],
])('a column %s takes %j', (column, value) => {
  expect(valueProblem(column, value)).toBeUndefined();
});
