import { beforeAll, expect, test } from 'vitest';
import { loadSqlParser, type SqlParser } from './sql-parser.ts';
import { useOf } from './statement-use.ts';

let parser: SqlParser;
beforeAll(async () => {
  parser = await loadSqlParser();
});

const shown = (names: readonly { schema: string | undefined; name: string }[]): string[] =>
  names.map(({ schema, name }) => (schema === undefined ? name : `${schema}.${name}`)).toSorted();
const use = (text: string): ReturnType<typeof useOf> => useOf(parser.parse(text));

test.each([
  ['select 1', []],
  ['select * from a.b, c', ['a.b', 'c']],
  ['select * from "A"."B c"', ['A.B c']],
  ['with c as (select * from a.b) select * from c', ['a.b']],
  ['with c as (select 1) select * from a.c, c', ['a.c']],
  // A name is in scope only inside its own statement, and only for the expressions behind it.
  ['select (with c as (select 1) select count(*) from c), d.* from c as d', ['c']],
  ['with x as (select * from y), y as (select * from a.b) select * from x, y', ['a.b', 'y']],
  ['with recursive x as (select 1 union all select * from x) select * from x', []],
  ['with c as (select 1) insert into c select * from c', ['c']],
  ['with c as (delete from a.b returning *) update d.e set f = 1 from c', ['a.b', 'd.e']],
  [
    'with gone as (delete from a.b returning x) insert into c.d select x from gone on conflict do nothing',
    ['a.b', 'c.d'],
  ],
  ['merge into a.b using (select * from c.d) s on true when matched then delete', ['a.b', 'c.d']],
  [
    'select * from a.b x where exists (select from c.d where d.id = x.id) for update of x skip locked',
    ['a.b', 'c.d'],
  ],
  ['select * from a.b, lateral (select * from c.d where d.id = b.id) l', ['a.b', 'c.d']],
  ['select * from a.b union (select * from c.d except select * from e.f)', ['a.b', 'c.d', 'e.f']],
  ['update a.b set c = (select d from e.f)', ['a.b', 'e.f']],
  ['delete from a.b using c.d where true', ['a.b', 'c.d']],
  ['truncate a.b, c.d', ['a.b', 'c.d']],
  ['lock table a.b', ['a.b']],
  ['drop table a.b, c', ['a.b', 'c']],
  ['create temp table t as select * from a.b', ['a.b', 'pg_temp.t']],
  ['create table a.b (c int references d.e)', ['a.b', 'd.e']],
  ['copy a.b to stdout', ['a.b']],
  ['explain select * from a.b', ['a.b']],
  ['prepare p as select * from a.b', ['a.b']],
  ['select 1; select * from a.b', ['a.b']],
  ['select * from only a.b tablesample system (1)', ['a.b']],
  ['select * from generate_series(1, 2) g', []],
])('tables of: %s', (text, expected) => {
  expect(shown(use(text).tables)).toEqual(expected);
});

test.each([
  ['select f(1), a.g(2)', ['a.g']],
  ['select * from a.rows()', ['a.rows']],
  ['call a.p()', ['a.p']],
  ["select nextval('a.s'), pg_catalog.now()", ['a.s', 'pg_catalog.now']],
  ["select 'a.b'::regclass", ['a.b']],
  ["select 'a.b'", []],
])('functions and sequences of: %s', (text, expected) => {
  expect(shown(use(text).others)).toEqual(expected);
});

test('a do block is told, because its statements cannot be seen', () => {
  expect(use('do $$ begin delete from a.b; end $$')).toMatchObject({ hidden: true, tables: [] });
  expect(use('select 1').hidden).toBe(false);
});

test.each([
  ['select 1', false],
  ['set local search_path to a', false],
  ["select set_config('app.role', 'x', true), role from a.b", false],
  ['savepoint a', false],
  ['rollback to savepoint a', false],
  ['release savepoint a', false],
  ['set transaction isolation level serializable', false],
  ['set local role a', true],
  ['set role none', true],
  ['reset role', true],
  ['set session authorization default', true],
  ["select pg_catalog.set_config('ROLE', 'none', true)", true],
  ['begin', true],
  ['commit and chain', true],
  ['select 1; rollback', true],
])('whether it leaves the role or its transaction: %s', (text, escapes) => {
  expect(use(text).escapes).toBe(escapes);
});

test.each([
  ['select * from a.b', []],
  ['insert into a.b select * from a.c', ['a.b']],
  ['update a.b set x = 1 from a.c where true', ['a.b']],
  ['delete from a.b using a.c where true', ['a.b']],
  ['with d as (delete from a.b returning *) select * from d, a.c', ['a.b']],
  ['with b as (select 1) update b set x = 1', ['b']],
  ['merge into a.b using a.c on true when matched then do nothing', ['a.b']],
  ['truncate a.b, a.c', ['a.b', 'a.c']],
  ['select * from a.b for update', []],
  ['insert into a.b select * from a.b', ['a.b']],
])('tables written by: %s', (text, expected) => {
  expect(shown(use(text).tables.filter(({ written }) => written))).toEqual(expected);
});
