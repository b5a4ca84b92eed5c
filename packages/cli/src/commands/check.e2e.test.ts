import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';

const bin = path.join(import.meta.dirname, '../../bin/plimsoll.js');
let server: TestDatabase;
let folder: string;

const plan = (extra = ''): string => `
import { contract, module, plan } from 'plimsoll';
import { sales } from './modules/sales/contract.ts';
import { stock } from './modules/stock/contract.ts';
const migrations = (name) => new URL(\`./modules/\${name}/migrations/\`, import.meta.url);
export default plan({
  name: 'parts',
  modules: [
    module(sales, { owns: { schema: 'sales', migrations: migrations('sales') }, uses: [stock] }),
    module(stock, { owns: { schema: 'stock', migrations: migrations('stock') }${extra} }),
  ],
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 100, errorRate: 0.01 } },
});
`;

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(folder, file)), { recursive: true });
    await writeFile(path.join(folder, file), text);
  }
}

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  // Inside the checkout, so that the plan finds its packages.
  const scratch = path.join(import.meta.dirname, '../../.plimsoll');
  await mkdir(scratch, { recursive: true });
  folder = await mkdtemp(path.join(scratch, 'check-'));
});
beforeEach(async () => {
  await rm(folder, { recursive: true });
  await write({
    'plimsoll.plan.ts': plan(),
    'modules/sales/contract.ts':
      "import { contract } from 'plimsoll';\nexport const sales = contract('sales', {});\n",
    'modules/sales/secret.ts': '',
    'modules/sales/migrations/001_sales.sql':
      'create schema sales; create table sales.orders (id int primary key);',
    'modules/stock/contract.ts':
      "import { contract } from 'plimsoll';\nexport const stock = contract('stock', {});\n",
    'modules/stock/migrations/001_stock.sql':
      'create schema stock; create table stock.items (id int primary key references sales.orders);',
  });
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await server.drop();
});

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function plimsoll(args: readonly string[], url = server.url): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = { ...process.env, DATABASE_URL: url, DATABASE_REPLICA_URLS: '' };
    execFile(process.execPath, [bin, ...args], { cwd: folder, env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

const check = (...args: string[]): Promise<Outcome> => plimsoll(['check', 'boundaries', ...args]);
const foreignKey =
  'foreign key stock.items.items_id_fkey, of module stock: touches sales.orders of module sales: keep the id without the constraint';
const secret =
  'modules/stock/module.ts:1: imports modules/sales/secret.ts of module sales: import the contract.ts of sales and call it, or put what both need into a package';

test('violations of all layers are told at once, recorded, and then only new and stale ones fail', async () => {
  expect(await check()).toMatchObject({
    code: 2,
    err: expect.stringContaining(
      'the database lacks migrations of sales, stock; run plimsoll migrate first',
    ) as string,
  });
  expect(await plimsoll(['migrate'])).toMatchObject({ code: 0 });

  await write({ 'modules/stock/module.ts': "import '../sales/secret.ts';" });
  await write({ 'plimsoll.plan.ts': plan(', uses: [sales]') });
  const all = await check();
  expect(all.code).toBe(1);
  expect(all.out.split('\n')).toEqual([
    secret,
    'module sales: uses stock, which uses sales: let one of them react to an event or take what it needs as input, or merge them',
    foreignKey,
    expect.stringMatching(
      /^3 violations, 0 recorded, 0 stale; 2 modules, 4 files, 3 imports, \d+ objects of the catalog$/,
    ),
    '',
  ]);

  expect((await check('--update')).code).toBe(0);
  expect(await check()).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^0 violations, 3 recorded, 0 stale/) as string,
  });
  // Another line is the same violation; another target is a new one.
  await write({ 'modules/stock/module.ts': "\nimport '../sales/secret.ts';\nimport '../sales/other.ts';" });
  const fresh = await check();
  expect(fresh).toMatchObject({
    code: 1,
    out: expect.stringContaining('1 violations, 3 recorded, 0 stale') as string,
  });
  expect(fresh.out).toContain('modules/stock/module.ts:3: imports modules/sales/other.ts');

  await write({ 'modules/stock/module.ts': '' });
  const stale = await check();
  expect(stale.code).toBe(1);
  expect(stale.out).toContain(
    'boundaries.todo.json: modules/stock/module.ts no longer imports modules/sales/secret.ts of module sales: run',
  );
  // Without a catalog its entries are neither wrong nor lost.
  expect((await check('--no-catalog', '--update')).code).toBe(0);
  const todo = JSON.parse(await readFile(path.join(folder, 'boundaries.todo.json'), 'utf8')) as {
    layer: string;
  }[];
  expect(todo.map(({ layer }) => layer)).toEqual(['catalog', 'uses']);
  expect((await check()).code).toBe(0);
});

test('the map is Markdown on standard output', async () => {
  await plimsoll(['migrate']);
  const { code, out } = await check('--map');
  expect(code).toBe(0);
  expect(out).toContain('# Modules of parts');
  expect(out).toContain('m_stock["<b>stock</b><br/>items"]');
});

test('without a database the imports are checked, and it says what is not', async () => {
  await write({ 'modules/stock/module.ts': "import '../sales/secret.ts';" });
  const { code, out, err } = await plimsoll(['check', 'boundaries'], 'postgres://u@127.0.0.1:1/none');
  expect({ code, out }).toEqual({
    code: 1,
    out: expect.stringContaining(`${secret}\n1 violations`) as string,
  });
  expect(err).toContain('the catalog is not checked, because no database answers');
});

test.each([
  [['check'], 'plimsoll check needs what to check; there is plimsoll check boundaries'],
  [['check', 'bounds'], 'plimsoll check cannot check "bounds"'],
])('%j is explained', async (args, message) => {
  expect(await plimsoll(args)).toMatchObject({ code: 2, err: expect.stringContaining(message) as string });
});
