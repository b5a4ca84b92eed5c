import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase } from '@plimsoll/embedded';
import { contract, createApp, isPlimsollError, module, plan, query, sql } from '../index.ts';
import { createDatabase } from '../database/index.ts';
import { checkBoundaries, compareWithTodo, describeViolation, readTodo, writeTodo } from './index.ts';

const stock = contract('stock', {});
const reports = contract('reports', {
  empty: query({ input: z.object({}), output: z.array(z.unknown()) }),
});

const modules = [
  module(stock, { owns: { schema: 'stock' } }),
  module(reports, {
    owns: { schema: 'reports' },
    queries: {
      // #region refused
      empty: (_input, { db }) => db.query(sql`select sku from stock.items where available = 0`),
      // #endregion
    },
  }),
];

const common = {
  name: 'usage',
  modules,
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 100, errorRate: 0.01 } },
};

test('the defaults refuse a foreign table, a plan may report it', async () => {
  const server = await createTestDatabase(inject('cluster'));
  try {
    await using database = createDatabase({ url: server.url });
    await database.execute(sql`create schema stock`);
    await database.execute(sql`create table stock.items (sku text primary key, available int not null)`);

    await using strict = createApp(plan(common), { databaseUrl: server.url, listen: false });
    await strict.start();
    const refusal = await strict.call(reports.empty, {}).catch((error: unknown) => error);
    expect(isPlimsollError(refusal, 'PL_FOREIGN_TABLE')).toBe(true);

    const adopting = plan({
      ...common,
      // #region report
      boundaries: { modulesDir: 'src/modules', statements: 'report' },
      // #endregion
    });
    await using app = createApp(adopting, { databaseUrl: server.url, listen: false });
    await app.start();
    expect(await app.call(reports.empty, {})).toEqual([]);
  } finally {
    await server.drop();
  }
});

test('a plan may ask for a role per module', async () => {
  const server = await createTestDatabase(inject('cluster'));
  try {
    await using database = createDatabase({ url: server.url });
    await database.execute(sql`create schema stock`);
    await database.execute(sql`create table stock.items (sku text primary key, available int not null)`);
    const walled = plan({
      ...common,
      // #region roles
      boundaries: { roles: true },
      // #endregion
    });
    await using app = createApp(walled, { databaseUrl: server.url, listen: false });
    await app.start();
    const roles = await database.query(
      sql`select rolname as role from pg_roles where starts_with(rolname, ${`plimsoll.${server.name}.`}) order by 1`,
    );
    expect(roles).toEqual(['reports', 'stock'].map((name) => ({ role: `plimsoll.${server.name}.${name}` })));
  } finally {
    await server.drop();
    // Roles belong to the server and outlive the database.
    await using database = createDatabase({ url: inject('cluster').primaryUrl });
    for (const name of ['reports', 'stock'])
      await database.execute(sql`drop role if exists ${sql.id(`plimsoll.${server.name}.${name}`)}`);
  }
});

test('a check in a test of your own, with what was there before', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const root = await mkdtemp(path.join(tmpdir(), 'plimsoll-usage-'));
  try {
    for (const folder of ['stock', 'reports'])
      await mkdir(path.join(root, 'modules', folder), { recursive: true });
    await writeFile(path.join(root, 'modules/reports/module.ts'), "import '../stock/items.ts';");
    await using database = createDatabase({ url: server.url });
    // #region check
    const findings = await checkBoundaries({ modules, root, database });
    const messages = findings.violations.map(describeViolation);
    // #endregion
    expect(messages).toEqual([
      'modules/reports/module.ts:1: imports modules/stock/items.ts of module stock: import the contract.ts of stock and call it, or put what both need into a package',
    ]);
    const todoText = writeTodo(findings, []);
    // #region ratchet
    const todo = readTodo(todoText, 'boundaries.todo.json');
    const { fresh, stale } = compareWithTodo(findings, todo);
    // #endregion
    expect({ fresh, stale }).toEqual({ fresh: [], stale: [] });
  } finally {
    await rm(root, { recursive: true, force: true });
    await server.drop();
  }
});
