import { expect, test } from 'vitest';
import { Sql, sql } from './sql.ts';

const refused = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'PL_SQL_VALUE', message: expect.stringMatching(message) as string });

test('a value is a parameter, whatever it says', () => {
  const input = "'; drop table account; --";
  expect(sql`select * from account where name = ${input}`.compile()).toEqual({
    text: 'select * from account where name = $1',
    values: [input],
  });
});

test('nested fragments are spliced in and numbered in the order of the text', () => {
  const where = sql`where a = ${1} and b = ${2}`;
  const statement = sql`select ${0} from t ${where} limit ${3}`;
  expect(statement.compile()).toEqual({
    text: 'select $1 from t where a = $2 and b = $3 limit $4',
    values: [0, 1, 2, 3],
  });
  // A fragment keeps its own numbers when it is used alone or again.
  expect(where.compile()).toEqual({ text: 'where a = $1 and b = $2', values: [1, 2] });
  expect(sql`${where} ${where}`.compile()).toEqual({
    text: 'where a = $1 and b = $2 where a = $3 and b = $4',
    values: [1, 2, 1, 2],
  });
});

test.each([
  ['orders', '"orders"'],
  ['Select', '"Select"'],
  ['a"b', '"a""b"'],
  ['"; drop table account; --', '"""; drop table account; --"'],
  ['ünïcode $1', '"ünïcode $1"'],
])('the identifier %j is quoted', (name, quoted) => {
  expect(sql.id(name).compile()).toEqual({ text: quoted, values: [] });
  expect(sql.id('schema', name).compile().text).toBe(`"schema".${quoted}`);
});

test('what cannot be an identifier is refused', () => {
  expect(() => sql.id('')).toThrow(refused(/cannot be an identifier/));
  expect(() => sql.id('orders', 'a\0b')).toThrow(refused(/cannot be an identifier/));
});

test.each([
  ['undefined', undefined],
  ['a function', () => 1],
  ['a symbol', Symbol('s')],
])('%s is refused instead of becoming null or text', (_what, value) => {
  expect(() => sql`select ${value}`.compile()).toThrow(refused(/cannot be a parameter/));
  expect(() => sql`select ${sql`nested ${value}`}`.compile()).toThrow(refused(/cannot be a parameter/));
});

test('null, false, 0 and the empty string are parameters like any other', () => {
  expect(sql`${null} ${false} ${0} ${''}`.compile()).toEqual({
    text: '$1 $2 $3 $4',
    values: [null, false, 0, ''],
  });
});

test('an object from JSON cannot pose as a fragment', () => {
  const forged: unknown = JSON.parse(
    '{"strings":["1; drop table account"],"values":[],"text":"1; drop table account","compile":null}',
  );
  expect(sql`select ${forged}`.compile()).toEqual({ text: 'select $1', values: [forged] });
  // Not even code that fakes the prototype gets text through.
  const disguised: unknown = Object.assign(Object.create(Sql.prototype), { strings: ['drop table account'] });
  expect(() => sql`select ${disguised}`.compile()).toThrow(TypeError);
});

test('one place in the program may give a value now and a part then', () => {
  const filtered = (by: unknown): object => sql`select * from t where ${by}`.compile();
  expect(filtered(true)).toEqual({ text: 'select * from t where $1', values: [true] });
  expect(filtered(sql`id = ${7}`)).toEqual({ text: 'select * from t where id = $1', values: [7] });
  expect(filtered(false)).toEqual({ text: 'select * from t where $1', values: [false] });
  expect(() => filtered(undefined)).toThrow(expect.objectContaining({ code: 'PL_SQL_VALUE' }));
});

test('join separates its parts and is empty for none', () => {
  const ids = [1, 2, 3].map((id) => sql`${id}`);
  expect(sql`select * from t where id in (${sql.join(ids)})`.compile()).toEqual({
    text: 'select * from t where id in ($1, $2, $3)',
    values: [1, 2, 3],
  });
  expect(sql.join([sql`a = ${1}`, sql`b = ${2}`], sql` and `).compile().text).toBe('a = $1 and b = $2');
  expect(sql.join([]).compile()).toEqual({ text: '', values: [] });
  expect(sql.join([sql`alone ${1}`]).compile()).toEqual({ text: 'alone $1', values: [1] });
  expect(sql`a${sql.empty}b`.compile()).toEqual({ text: 'ab', values: [] });
});

test('json sends one parameter, arrays and null included', () => {
  expect(sql.json([1, { a: 'b' }]).compile()).toEqual({ text: '$1::jsonb', values: ['[1,{"a":"b"}]'] });
  expect(sql.json(null).compile()).toEqual({ text: '$1::jsonb', values: ['null'] });
  expect(() => sql.json(undefined).compile()).toThrow(refused(/type undefined/));
});

test('an escape that JavaScript cannot read is refused instead of losing the text around it', () => {
  expect(() => sql`select '\u' || name from account`).toThrow(refused(/escape/));
});
