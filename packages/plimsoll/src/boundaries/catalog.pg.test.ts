import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/index.ts';
import { trustedSql } from '../database/sql.ts';
import { checkCatalog, readRelations } from './catalog.ts';
import type { Owned } from './owners.ts';

let server: Awaited<ReturnType<typeof createTestDatabase>>;
let database: Database;

const owning = (name: string): Owned => ({ name, schema: name, ownsTable: (schema) => schema === name });
const legacy: Owned = {
  name: 'legacy',
  schema: undefined,
  ownsTable: (schema, table) => schema === 'public' && ['accounts', 'notes'].includes(table),
};
const modules = [owning('a'), owning('b'), legacy];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

/** What each check finds in these objects, which are gone again behind it. */
async function found(ddl: string): Promise<readonly string[]> {
  const base = `
    create schema a; create schema b; create schema plimsoll;
    create table a.t (id int primary key, other int); create table a.u (id int primary key references a.t);
    create table b.t (id int primary key, other int); create table public.accounts (id int primary key);
    create table public.notes (id int references public.accounts); create table public.stray (id int primary key);
    create table plimsoll.task (id int primary key);`;
  const undo = new Error('undo');
  let violations: readonly string[] = [];
  await database
    .transaction(async (tx) => {
      await tx.execute(trustedSql(base + ddl));
      violations = (await checkCatalog(tx, modules)).violations.map(({ where, what }) => `${where}: ${what}`);
      throw undo;
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error;
    });
  return violations;
}

test('what stays inside one module is lawful, whatever it is made of', async () => {
  expect(
    await found(`
      create view a.v as select t.id, relname from a.t, pg_class;
      create materialized view a.m as select * from a.v;
      create function a.f() returns bigint language sql as 'select count(*) from a.t';
      create function a.g() returns trigger language plpgsql as 'begin perform a.f(); update a.u set id = new.id; return new; end';
      create trigger g after insert on a.t for each row execute function a.g();
      create table a.parted (id int references a.t) partition by list (id);
      create table a.part partition of a.parted for values in (1);
      create function a.h() returns bigint language sql as 'select count(*) from pg_catalog.pg_class, a.t';
      create view public.notes_view as select * from public.notes;
      create function public.note() returns void language sql as 'insert into notes select id from accounts';`),
  ).toEqual([]);
});

test.each([
  [
    'a foreign key',
    'alter table a.t add constraint k foreign key (other) references b.t',
    'foreign key a.t.k, of module a: touches b.t of module b',
  ],
  [
    'a foreign key of a partitioned table, once',
    'create table a.p (id int constraint k references b.t) partition by list (id); create table a.p1 partition of a.p for values in (1)',
    'foreign key a.p.k, of module a: touches b.t of module b',
  ],
  [
    'a foreign key to a listed table',
    'alter table a.t add constraint k foreign key (other) references public.accounts',
    'foreign key a.t.k, of module a: touches public.accounts of module legacy',
  ],
  [
    'a foreign key to a table of nobody',
    'alter table a.t add constraint k foreign key (other) references public.stray',
    'foreign key a.t.k, of module a: touches public.stray of no module',
  ],
  [
    'a foreign key to the runtime',
    'alter table a.t add constraint k foreign key (other) references plimsoll.task',
    'foreign key a.t.k, of module a: touches plimsoll.task of the runtime',
  ],
  [
    'a view',
    'create view a.v as select * from a.t union all select * from b.t',
    'view a.v, of module a: touches b.t of module b',
  ],
  [
    'a materialized view',
    'create materialized view a.v as select * from b.t',
    'materialized view a.v, of module a: touches b.t of module b',
  ],
  [
    'a view of nobody over two modules',
    'create view public.v as select t.id from a.t join b.t x using (id)',
    'view public.v: touches a.t of module a, b.t of module b',
  ],
  [
    'a function in SQL',
    "create function a.f() returns bigint language sql as 'with t as (select 1) select count(*) from t, b.t x'",
    'function a.f, of module a: touches b.t of module b',
  ],
  [
    'a function in SQL that is kept parsed',
    'create function a.f() returns bigint language sql begin atomic select count(*) from b.t; end',
    'function a.f, of module a: touches b.t of module b',
  ],
  [
    'a function by its search path',
    "create function a.f() returns bigint language sql set search_path = b, pg_temp as 'select count(*) from t'",
    'function a.f, of module a: touches b.t of module b',
  ],
  [
    'a statement in PL/pgSQL',
    "create function a.f() returns void language plpgsql as 'begin if true then insert into b.t values (1, 1); end if; end'",
    'function a.f, of module a: touches b.t of module b',
  ],
  [
    'an assignment in PL/pgSQL',
    "create function a.f() returns void language plpgsql as 'declare v int; begin v := (select count(*) from b.t); end'",
    'function a.f, of module a: touches b.t of module b',
  ],
  [
    'a condition in PL/pgSQL',
    "create function a.f() returns void language plpgsql as 'begin if exists (select from b.t) then return; end if; end'",
    'function a.f, of module a: touches b.t of module b',
  ],
  [
    'a query in a loop in PL/pgSQL',
    "create function a.f() returns void language plpgsql as 'declare r record; begin for r in select * from b.t loop null; end loop; end'",
    'function a.f, of module a: touches b.t of module b',
  ],
  [
    'a call',
    "create function b.g() returns int language sql as 'select 1'; create function a.f() returns int language sql as 'select b.g()'",
    'function a.f, of module a: touches b.g() of module b',
  ],
  [
    'a procedure',
    "create procedure a.p() language sql as 'delete from b.t'",
    'function a.p, of module a: touches b.t of module b',
  ],
  [
    'a trigger with the function of another',
    "create function b.g() returns trigger language plpgsql as 'begin return new; end'; create trigger g after insert on a.t for each row execute function b.g()",
    'trigger g on a.t, of module a: touches b.g() of module b',
  ],
  [
    'a trigger with a function of nobody',
    "create function public.g() returns trigger language plpgsql as 'begin insert into b.t values (new.id); return new; end'; create trigger g after insert on a.t for each row execute function g()",
    'trigger g on a.t, of module a: touches b.t of module b',
  ],
])('%s across modules is found', async (_what, ddl, expected) => {
  expect(await found(`${ddl};`)).toEqual([expected]);
});

test('everything is told at once, a function and its trigger once', async () => {
  expect(
    await found(`
      alter table a.t add constraint k foreign key (other) references b.t;
      create view b.v as select * from a.t;
      create function a.g() returns trigger language plpgsql as 'begin insert into b.t values (new.id); return new; end';
      create trigger g after insert on a.t for each row execute function a.g();`),
  ).toEqual([
    'foreign key a.t.k, of module a: touches b.t of module b',
    'view b.v, of module b: touches a.t of module a',
    'function a.g, of module a: touches b.t of module b',
  ]);
});

test('relations tell tables from views and partitions', async () => {
  const undo = new Error('undo');
  await database
    .transaction(async (tx) => {
      await tx.execute(
        trustedSql(`create schema a; create table a.t (id int) partition by list (id);
          create table a.t1 partition of a.t for values in (1); create view a.v as select * from a.t`),
      );
      expect(await readRelations(tx)).toEqual([
        { schema: 'a', name: 't', isTable: true },
        { schema: 'a', name: 't1', isTable: false },
        { schema: 'a', name: 'v', isTable: false },
      ]);
      throw undo;
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error;
    });
});
