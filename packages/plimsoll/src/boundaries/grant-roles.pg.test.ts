import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { contract, isPlimsollError, module, sql } from '../index.ts';
import { createDatabase, type Database } from '../database/index.ts';
import { trustedSql } from '../database/sql.ts';
import { grantRoles } from './grant-roles.ts';
import { roleDifference } from './role-grants.ts';

let server: TestDatabase;
let admin: Database;
const logins: string[] = [];

beforeEach(async () => {
  server = await createTestDatabase(inject('cluster'));
  admin = createDatabase({ url: server.url });
  await admin.execute(
    trustedSql(`
      create schema stock;
      create table stock.items (id serial primary key, sku text);
      create function stock.count() returns bigint language sql as 'select count(*) from stock.items';
      create schema "Sales ""eu""";
      create table "Sales ""eu""".orders (id int generated always as identity);
      create sequence public.numbers;
      create table public.bills (id serial, number int default nextval('public.numbers'));
      create table public.users (id serial);
      create function public.helper() returns int language sql as 'select 1';`),
  );
});
afterEach(async () => {
  await admin.close();
  await server.drop();
  // Roles belong to the server and outlive the database.
  await using database = createDatabase({ url: inject('cluster').primaryUrl });
  const roles = await database.query<{ role: string }>(
    sql`select rolname as role from pg_roles where starts_with(rolname, ${`plimsoll.${server.name}.`})`,
  );
  for (const role of [...roles.map((row) => row.role), ...logins.splice(0)])
    await database.execute(sql`drop role ${sql.id(role)}`);
});

const stock = module(contract('stock', {}), { owns: { schema: 'stock' } });
const sales = module(contract('sales', {}), { owns: { schema: 'Sales "eu"' } });
const billing = module(contract('billing', {}), { owns: { tables: ['public.bills'] } });
const all = [stock, sales, billing];

const roleOf = (name: string): string => `plimsoll.${server.name}.${name}`;

/** Runs one statement as the module's role; the SQLSTATE when it is refused. */
async function as(module: string, statement: string, on: Database = admin): Promise<string> {
  try {
    await on.transaction(async (tx) => {
      await tx.execute(sql`set local role ${sql.id(roleOf(module))}`);
      await tx.execute(trustedSql(statement));
    });
    return 'done';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

/** On a connection of its own, which a transaction left open does not outlive. */
async function alone(on: Database, statements: string): Promise<void> {
  const session = await on.session();
  try {
    await session.execute(trustedSql(statements));
  } finally {
    await session.close();
  }
}

/** A user that can log in, who owns nothing. */
async function login(attributes = ''): Promise<{ readonly name: string; readonly database: Database }> {
  const name = `user of ${server.name} ${logins.length}`;
  logins.push(name);
  await admin.execute(trustedSql(`create role "${name}" login password 'secret' ${attributes}`));
  const url = new URL(server.url);
  url.username = encodeURIComponent(name);
  url.password = 'secret';
  return { name, database: createDatabase({ url: url.href }) };
}

/** Everything that grants and revokes change, here and for the whole server. */
const state = (): Promise<unknown[]> =>
  admin.query(sql`
    select relname::text as name, relacl::text as acl, xmin::text from pg_class where relnamespace >= 16384 or relacl is not null
    union all select nspname, nspacl::text, xmin::text from pg_namespace
    union all select proname, proacl::text, xmin::text from pg_proc where oid >= 16384
    union all select rolname, rolcanlogin::text, xmin::text from pg_authid where starts_with(rolname, ${roleOf('')})
    order by 1, 2`);

test('a role may use what its module owns, and nothing else', async () => {
  const roles = await grantRoles(admin, all);
  expect([...roles]).toEqual(all.map(({ name }) => [name, roleOf(name)]));

  const reached = await Promise.all(
    [
      ['stock', `insert into stock.items (sku) values ('a')`],
      ['stock', `select setval('stock.items_id_seq', 7), stock.count()`],
      ['stock', 'truncate stock.items'],
      ['sales', 'insert into "Sales ""eu""".orders default values'],
      ['billing', 'insert into public.bills default values'],
      ['billing', 'select public.helper() from pg_class'],
      ['billing', 'create temp table own as select * from public.bills'],
    ].map(([module, statement]) => as(module ?? '', statement ?? '')),
  );
  expect(reached).toEqual(reached.map(() => 'done'));
  const refused = await Promise.all(
    [
      ['stock', 'select from "Sales ""eu""".orders'],
      ['stock', 'select from public.bills'],
      ['stock', 'create table stock.more ()'],
      ['stock', 'drop table stock.items'],
      ['sales', 'select stock.count()'],
      ['sales', `select nextval('stock.items_id_seq')`],
      ['billing', 'select from public.users'],
      ['billing', `select nextval('public.users_id_seq')`],
      [
        'billing',
        `set local role ${JSON.stringify(roleOf('stock'))}; select from stock.items; reset role; x`,
      ],
    ].map(([module, statement]) => as(module ?? '', statement ?? '')),
  );
  // The last one is a syntax error and never runs.
  expect(refused).toEqual([...refused.slice(1).map(() => '42501'), '42601']);
});

test('the roles cannot log in, and the users who can do not inherit from them', async () => {
  await grantRoles(admin, all);
  expect(
    await admin.query(sql`
      select r.rolcanlogin as login, m.inherit_option as inherits, m.set_option as sets
      from pg_roles r join pg_auth_members m on m.roleid = r.oid
      where starts_with(r.rolname, ${roleOf('')})`),
  ).toEqual(all.map(() => ({ login: false, inherits: false, sets: true })));
});

test('a table of a later migration is its module’s at once, and the next start has nothing to do', async () => {
  await grantRoles(admin, all);
  await admin.execute(sql`create table stock.shelves (id serial)`);
  expect(await as('stock', 'insert into stock.shelves default values')).toBe('done');
  const before = await state();
  await grantRoles(admin, all);
  expect(await state()).toEqual(before);
});

test('a start finds what was made by others, and what PUBLIC lost', async () => {
  await grantRoles(admin, all);
  await admin.execute(
    trustedSql(`
      alter default privileges in schema stock revoke all on tables from ${JSON.stringify(roleOf('stock'))};
      create table stock.shelves (id serial);
      create sequence public.more; alter table public.bills add column other int default nextval('public.more');
      revoke execute on function stock.count() from public;
      revoke usage on schema public from public;`),
  );
  expect(await as('stock', 'select from stock.shelves')).toBe('42501');
  expect(await as('stock', 'select stock.count()')).toBe('42501');
  await grantRoles(admin, all);
  expect(await as('stock', 'select stock.count() from stock.shelves')).toBe('done');
  expect(await as('billing', 'insert into public.bills default values')).toBe('done');
  expect(await as('sales', 'select public.helper()')).toBe('42501');
});

test('what a module loses is taken from its role, whoever had given it', async () => {
  await grantRoles(admin, all);
  await admin.execute(
    trustedSql(`
      grant select on public.users to ${JSON.stringify(roleOf('sales'))};
      alter default privileges in schema public grant select on tables to ${JSON.stringify(roleOf('sales'))};`),
  );
  const poorer = module(contract('billing', {}), { owns: { tables: ['public.users'] } });
  const moved = module(contract('stock', {}), { owns: { schema: 'elsewhere' } });
  await grantRoles(admin, [moved, sales, poorer]);
  await admin.execute(sql`create table public.later ()`);
  expect(await as('billing', 'select from public.bills')).toBe('42501');
  expect(await as('billing', `select nextval('public.numbers')`)).toBe('42501');
  expect(await as('billing', 'select from public.users')).toBe('done');
  expect(await as('stock', 'select from stock.items')).toBe('42501');
  expect(await as('sales', 'select from public.users')).toBe('42501');
  expect(await as('sales', 'select from public.later')).toBe('42501');
});

test('what PUBLIC may do stays as it was', async () => {
  const open = sql`
    select c.oid::regclass::text as what, a.privilege_type as privilege
    from pg_class c, aclexplode(c.relacl) a where a.grantee = 0 and c.oid >= 16384
    union all select n.nspname, a.privilege_type
    from pg_namespace n, aclexplode(n.nspacl) a where a.grantee = 0
    union all select p.proname, a.privilege_type
    from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0 and p.oid >= 16384
    order by 1, 2`;
  await admin.execute(sql`grant select on stock.items to public`);
  const before = await admin.query(open);
  await grantRoles(admin, all);
  expect(await admin.query(open)).toEqual(before);
  expect(before).toContainEqual({ what: 'stock.items', privilege: 'SELECT' });
});

test('a role that somebody made strong is made poor again', async () => {
  await grantRoles(admin, all);
  const role = JSON.stringify(roleOf('sales'));
  await admin.execute(
    trustedSql(`alter role ${role} login bypassrls createrole; grant pg_read_all_data to ${role}`),
  );
  expect(await as('sales', 'select from stock.items')).toBe('done');
  await grantRoles(admin, all);
  expect(await as('sales', 'select from stock.items')).toBe('42501');
  expect(
    await admin.query(sql`
      select rolcanlogin or rolbypassrls or rolcreaterole or rolsuper as strong from pg_roles where rolname = ${roleOf('sales')}`),
  ).toEqual([{ strong: false }]);
});

test('many processes that start at once make the roles once', async () => {
  const databases = Array.from({ length: 6 }, () => createDatabase({ url: server.url }));
  try {
    const outcomes = await Promise.all(databases.map((database) => grantRoles(database, all)));
    expect(outcomes.map((roles) => roles.size)).toEqual(databases.map(() => all.length));
    expect(await as('stock', 'select from stock.items')).toBe('done');
  } finally {
    await Promise.all(databases.map((database) => database.close()));
  }
});

test('an owner with CREATEROLE needs no superuser', async () => {
  const { name, database } = await login('createrole');
  await using _ = database;
  await admin.execute(trustedSql(`grant create on database "${server.name}" to "${name}"`));
  await database.execute(
    trustedSql(
      'create schema own; create table own.things (id serial); create function own.one() returns int language sql as $$select 1$$',
    ),
  );
  const own = module(contract('own', {}), { owns: { schema: 'own' } });
  await grantRoles(database, [own]);
  expect(await as('own', 'insert into own.things default values', database)).toBe('done');
  expect((await roleDifference(database, [own])).statements).toEqual([]);
});

test('a user who may not is told what to run, and afterwards needs only to set the roles', async () => {
  const { name, database } = await login();
  await using _ = database;
  const before = await state();
  const refusal = await grantRoles(database, all).catch((error: unknown) => error);
  if (!isPlimsollError(refusal, 'PL_CONFIG')) throw refusal;
  expect(await state()).toEqual(before);
  expect(refusal.message).toContain(
    `the user "${name}" cannot make the roles of the modules match what they own in the database "${server.name}": permission denied to create role.`,
  );
  const statements = refusal.data['statements'] as readonly string[];
  for (const statement of statements) expect(refusal.message).toContain(`\n  ${statement};\n`);
  expect(statements).toContain(`create role "${roleOf('stock')}" nologin`);
  expect(statements).toContain(`grant usage on schema stock to "${roleOf('stock')}"`);
  const check = /^ {2}(begin; .* rollback;)$/m.exec(refusal.message)?.[1] ?? '';
  await expect(alone(database, check)).rejects.toThrow(/does not exist/);

  await admin.execute(trustedSql(statements.join(';')));
  await alone(database, check);
  const granted = await state();
  expect((await grantRoles(database, all)).size).toBe(all.length);
  expect(await state()).toEqual(granted);
  expect(await as('stock', 'select from stock.items', database)).toBe('done');

  await admin.execute(trustedSql(`revoke "${roleOf('stock')}" from "${name}"`));
  const membership = await grantRoles(database, all).catch((error: unknown) => error);
  expect(isPlimsollError(membership, 'PL_CONFIG') && membership.data['statements']).toEqual([
    `grant "${roleOf('stock')}" to "${name}" with inherit false, set true`,
  ]);
});

test('a grant that PostgreSQL only warns about is no grant', async () => {
  await grantRoles(admin, all);
  const { name, database } = await login();
  await using _ = database;
  await admin.execute(
    trustedSql(`
      grant "${roleOf('stock')}", "${roleOf('sales')}", "${roleOf('billing')}" to "${name}" with set true;
      grant select on stock.items to "${name}"; revoke insert on stock.items from "${roleOf('stock')}"`),
  );
  await expect(grantRoles(database, all)).rejects.toMatchObject({
    code: 'PL_CONFIG',
    data: { statements: [`grant insert on table stock.items to "${roleOf('stock')}"`] },
  });
});
