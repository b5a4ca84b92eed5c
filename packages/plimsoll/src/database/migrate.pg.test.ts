import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createDatabase, type Database } from './database.ts';
import { migrate, type MigrationSource } from './migrate.ts';
import { sql } from './sql.ts';

let server: TestDatabase;
let database: Database;
const folders: string[] = [];
let component = '';
let nextComponent = 0;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
});
afterAll(async () => {
  await database.close();
  await server.drop();
});
beforeEach(() => {
  nextComponent += 1;
  component = `component${nextComponent}`;
});
afterEach(async () => {
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true })));
});

async function source(files: Readonly<Record<string, string>>): Promise<MigrationSource> {
  const folder = await mkdtemp(path.join(tmpdir(), 'plimsoll-migrate-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), text);
  return { component, directory: pathToFileURL(folder) };
}

const recorded = (): Promise<object[]> =>
  database.query(
    sql`select number, file from plimsoll.migration where component = ${component} order by number`,
  );

async function tableExists(name: string): Promise<boolean> {
  const { there } = await database.one<{ there: boolean }>(
    sql`select to_regclass(${name}) is not null as there`,
  );
  return there;
}

test('many processes at once apply each file exactly once', async () => {
  // Not `if not exists`: applied twice, these would fail or count twice.
  const files = await source({
    '001_counter.sql': `create table ${component}_counter (n int); insert into ${component}_counter values (0);`,
    '002_count.sql': `update ${component}_counter set n = n + 1;`,
    '003_again.sql': `update ${component}_counter set n = n + 10;`,
  });
  const processes = Array.from({ length: 8 }, () => createDatabase({ url: server.url, pool: { max: 2 } }));
  try {
    const reports = await Promise.all(processes.map((each) => migrate(each, [files])));
    expect(reports.flatMap(({ applied }) => applied).toSorted()).toEqual([
      `${component}/001_counter.sql`,
      `${component}/002_count.sql`,
      `${component}/003_again.sql`,
    ]);
    for (const { applied, present } of reports) expect(applied.length + present).toBe(3);
  } finally {
    await Promise.all(processes.map((each) => each.close()));
  }
  expect(await database.one(sql`select n from ${sql.id(`${component}_counter`)}`)).toEqual({ n: 11 });
});

test('components are applied in the order given, and a second run finds nothing to do', async () => {
  const first = await source({ '001_parent.sql': `create table ${component}_parent (id int primary key)` });
  const parent = `${component}_parent`;
  component += 'b';
  const second = await source({
    '001_child.sql': `create table ${component}_child (id int references ${parent})`,
  });
  expect(await migrate(database, [first, second])).toEqual({
    applied: [`${first.component}/001_parent.sql`, `${second.component}/001_child.sql`],
    present: 0,
  });
  expect(await migrate(database, [first, second])).toEqual({ applied: [], present: 2 });
});

test('what the page shows', async () => {
  const { directory } = await source({ '001_orders.sql': `create table ${component}_orders (id int)` });
  // #region migrate
  const { applied, present } = await migrate(database, [{ component: 'orders', directory }]);
  // #endregion
  expect({ applied, present }).toEqual({ applied: ['orders/001_orders.sql'], present: 0 });
});

test('a file whose content changed after it was applied is refused, and nothing after it runs', async () => {
  await migrate(database, [await source({ '001_a.sql': `create table ${component}_a (id int)` })]);
  const changed = await source({
    '001_a.sql': `create table ${component}_a (id bigint)`,
    '002_b.sql': `create table ${component}_b (id int)`,
  });
  await expect(migrate(database, [changed])).rejects.toMatchObject({
    code: 'PL_MIGRATION_CHANGED',
    data: { component, file: '001_a.sql' },
  });
  expect(await tableExists(`${component}_b`)).toBe(false);
  const renamed = await source({ '001_renamed.sql': `create table ${component}_a (id bigint)` });
  await expect(migrate(database, [renamed])).rejects.toThrow('(as 001_a.sql)');
});

test('line ends of Windows are the same content', async () => {
  const lines = [`create table ${component}_a (`, '  id int', ');'];
  await migrate(database, [await source({ '001_a.sql': lines.join('\n') })]);
  expect(await migrate(database, [await source({ '001_a.sql': lines.join('\r\n') })])).toEqual({
    applied: [],
    present: 1,
  });
});

test.each([
  ['a gap', ['001_a.sql', '003_c.sql'], ['003_c.sql: want number 002 here']],
  ['a start after 001', ['002_a.sql'], ['002_a.sql: want number 001 here']],
  ['a number given twice', ['001_a.sql', '001_b.sql'], ['001_b.sql: want number 002 here']],
  ['a name without a number', ['001_a.sql', 'orders.sql'], ['orders.sql: want a name like 001_orders.sql']],
  [
    'a bad name before good ones, which are not blamed',
    ['0001_a.sql', '001_a.sql', '002_b.sql'],
    ['0001_a.sql: want a name like 001_orders.sql'],
  ],
  [
    'several at once',
    ['001_a.sql', '003_c.sql', '1_x.sql', 'Bad Name.sql'],
    [
      '003_c.sql: want number 002 here',
      '1_x.sql: want a name like 001_orders.sql',
      'Bad Name.sql: want a name like 001_orders.sql',
    ],
  ],
])('%s is refused with every problem before anything is applied', async (_what, fileNames, problems) => {
  const good = await source({ '001_good.sql': `create table ${component}_good (id int)` });
  const bad = await source(Object.fromEntries(fileNames.map((name) => [name, 'select 1'])));
  await expect(migrate(database, [good, bad])).rejects.toMatchObject({
    code: 'PL_MIGRATION_INVALID',
    message: `${component}: ${problems.join('; ')}`,
    data: { problems },
  });
  expect(await tableExists(`${component}_good`)).toBe(false);
});

test('a folder that is not there is explained, other files in it are not read', async () => {
  const missing = { component, directory: new URL('file:///nowhere/at/all/') };
  await expect(migrate(database, [missing])).rejects.toMatchObject({
    code: 'PL_MIGRATION_INVALID',
    message: `${component}: cannot read /nowhere/at/all/`,
  });
  const noted = await source({ '001_a.sql': 'select 1', 'README.md': 'not SQL' });
  expect(await migrate(database, [noted])).toEqual({ applied: [`${component}/001_a.sql`], present: 0 });
});

test('a file that fails is rolled back whole; what came before it stays, and the fixed file is applied', async () => {
  const before = { '001_a.sql': `create table ${component}_a (id int)` };
  const broken = await source({
    ...before,
    '002_b.sql': `create table ${component}_b (id int); insert into ${component}_b values ('x');`,
    '003_c.sql': `create table ${component}_c (id int)`,
  });
  await expect(migrate(database, [broken])).rejects.toMatchObject({
    code: 'PL_MIGRATION_FAILED',
    message: expect.stringMatching(/002_b\.sql failed and was rolled back: invalid input syntax/) as string,
    cause: { code: '22P02' },
    data: { component, file: '002_b.sql' },
  });
  expect(await recorded()).toEqual([{ number: 1, file: '001_a.sql' }]);
  expect(await tableExists(`${component}_b`)).toBe(false);
  expect(await tableExists(`${component}_c`)).toBe(false);

  const fixed = await source({ ...before, '002_b.sql': `create table ${component}_b (id int)` });
  expect(await migrate(database, [fixed])).toEqual({ applied: [`${component}/002_b.sql`], present: 1 });
});

test('a database that is ahead of the files is accepted', async () => {
  const older = { '001_a.sql': `create table ${component}_a (id int)` };
  const newer = await source({ ...older, '002_b.sql': `create table ${component}_b (id int)` });
  await migrate(database, [newer]);
  expect(await migrate(database, [await source(older)])).toEqual({ applied: [], present: 1 });
});

test('empty files, comments and dollar quotes are SQL like any other', async () => {
  const files = await source({
    '001_empty.sql': '',
    '002_comment.sql': '-- nothing yet\n',
    '003_function.sql': `create function ${component}_f() returns text language plpgsql as $$ begin return '$1;'; end $$;`,
  });
  expect((await migrate(database, [files])).applied).toHaveLength(3);
  expect(await database.one(sql`select ${sql.id(`${component}_f`)}() as f`)).toEqual({ f: '$1;' });
});

test('neither a long migration nor the wait for one of another process is cut by the statement limit', async () => {
  const hurried = createDatabase({ url: server.url, pool: { statementTimeoutMs: 100 } });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => hurried.close());
  const gatekeeper = await database.session();
  stack.defer(() => gatekeeper.close());
  await gatekeeper.query(sql`select pg_advisory_lock(4801)`);
  const long = await source({ '001_long.sql': 'select pg_advisory_xact_lock(4801)' });
  const both = Promise.all([migrate(hurried, [long]), migrate(hurried, [long])]);
  // If either gives up, the condition below is never met and the reason is this one.
  both.catch(() => undefined);
  await expect
    .poll(
      () =>
        database.query(sql`
          select 1 from pg_stat_activity
          where datname = current_database() and wait_event = 'advisory' and now() - query_start > interval '300 ms'`),
      { timeout: 10_000 },
    )
    .toHaveLength(2);
  await gatekeeper.close();
  expect((await both).flatMap(({ applied }) => applied)).toEqual([`${component}/001_long.sql`]);
});
