import { expect, test } from 'vitest';
import { parameterizedSql, sql } from './sql.ts';

test('a statement of a query builder keeps its text and its values apart', () => {
  const statement = parameterizedSql('select $1, $2', ["'; drop table a --", null], { rowMode: 'array' });
  expect(statement.compile()).toEqual({
    text: 'select $1, $2',
    values: ["'; drop table a --", null],
    driver: { rowMode: 'array' },
  });
});

test('it is no part of another statement, where its numbers would mean other values', () => {
  const inner = parameterizedSql('select $1', [1]);
  expect(() => sql`select ${2} where exists (${inner})`.compile()).toThrow(
    expect.objectContaining({ code: 'PL_SQL_VALUE' }),
  );
});

test('a value that cannot be a parameter is refused', () => {
  expect(() => parameterizedSql('select $1', [undefined])).toThrow(
    expect.objectContaining({ code: 'PL_SQL_VALUE' }),
  );
});
