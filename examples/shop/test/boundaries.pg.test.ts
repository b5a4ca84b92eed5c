import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { migrationsOf, type Plan } from 'plimsoll';
import { checkBoundaries, readRelations, renderMap } from 'plimsoll/boundaries';
import { createDatabase, migrate, type Database } from 'plimsoll/database';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import shop from '../plimsoll.plan.ts';

const { name, modules }: Plan = shop;
let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf(shop));
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

test('no module of the shop reaches into another, in its files or in the database', async () => {
  const findings = await checkBoundaries({
    modules,
    root: path.resolve(import.meta.dirname, '..'),
    database,
  });
  expect(findings.violations).toEqual([]);
  expect(findings.files).toBeGreaterThan(modules.length);
  expect(findings.objects).toBeGreaterThan(0);
});

test('docs/modules.md is the map of the modules as they are', async () => {
  const page = await readFile(path.join(import.meta.dirname, '../docs/modules.md'), 'utf8');
  expect(page).toBe(renderMap({ name, modules, relations: await readRelations(database) }));
});
