import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { contract, event, module, type Module } from '../index.ts';
import { checkBoundaries } from './check.ts';
import { renderMap } from './map.ts';
import { compareWithTodo, readTodo, writeTodo } from './ratchet.ts';
import { cyclesOfUses } from './uses.ts';
import { describeViolation } from './violation.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'plimsoll-boundaries-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(root, file)), { recursive: true });
    await writeFile(path.join(root, file), text);
  }
}

const stock = contract('stock', { low: event({ payload: z.object({ sku: z.string() }) }) });
const sales = contract('sales', {});
const stockModule = module(stock, { owns: { schema: 'stock' } });
const salesModule = module(sales, {
  owns: { schema: 'sales' },
  uses: [stock],
  on: (on) => [on(stock.low, { name: 'pause' }, async () => {})],
});
const modules = [stockModule, salesModule];

const sound = {
  'modules/stock/contract.ts': "import { contract } from 'plimsoll';",
  'modules/stock/module.ts': "import { stock } from './contract.ts'; import './sql/rows.ts';",
  'modules/stock/sql/rows.ts': "import { sql } from 'plimsoll'; import { readFile } from 'node:fs/promises';",
  'modules/sales/contract.ts': '',
  'modules/sales/module.ts': "import { stock } from '../stock/contract.ts'; import './contract.ts';",
  'plimsoll.plan.ts': "import './modules/stock/sql/rows.ts'; import './modules/sales/module.ts';",
};

const messagesOf = async (given: Partial<Parameters<typeof checkBoundaries>[0]> = {}): Promise<string[]> =>
  (await checkBoundaries({ modules, root, ...given })).violations.map(describeViolation);

describe('imports', () => {
  test('own files, contracts and packages are lawful, and what lies outside the modules may import all', async () => {
    await write(sound);
    expect(await checkBoundaries({ modules, root })).toEqual({
      violations: [],
      files: 5,
      imports: 7,
      objects: undefined,
    });
  });

  test('everything else is told at once, with its line', async () => {
    await write({
      ...sound,
      'modules/sales/module.ts': [
        "import type { Row } from '../stock/sql/rows.ts';",
        "export * from '../stock/contract/inner.ts';",
        "const { secret } = await import('../stock/module.ts');",
        "import '../../shared/money.ts';",
        "import '#stock/rows';",
      ].join('\n'),
      'modules/stock/open.js': 'const text = `without end',
      'modules/stock/sql/rows.ts': "require('../../sales/module.ts')",
    });
    expect(await messagesOf()).toEqual([
      'modules/stock/open.js: cannot be read, a template that begins at character 13 has no end: correct it',
      'modules/stock/sql/rows.ts:1: imports modules/sales/module.ts of module sales: import the contract.ts of sales and call it, or put what both need into a package',
      'modules/sales/module.ts:1: imports modules/stock/sql/rows.ts of module stock: import the contract.ts of stock and call it, or put what both need into a package',
      'modules/sales/module.ts:2: imports modules/stock/contract/inner.ts of module stock: import the contract.ts of stock and call it, or put what both need into a package',
      'modules/sales/module.ts:3: imports modules/stock/module.ts of module stock: import the contract.ts of stock and call it, or put what both need into a package',
      'modules/sales/module.ts:4: imports shared/money.ts, which belongs to no module: move it into module sales or into a package, or hand it in from outside',
      'modules/sales/module.ts:5: imports #stock/rows, which may lead anywhere: write a relative path or the name of a package',
    ]);
  });

  test("a module's test may import what belongs to no module, but not the inside of another", async () => {
    await write({
      ...sound,
      'modules/sales/a.test.ts': "import '../../testing/set-up.ts'; import '../stock/module.ts';",
    });
    expect(await messagesOf()).toEqual([
      expect.stringContaining('a.test.ts:1: imports modules/stock/module.ts'),
    ]);
  });

  test('a folder whose name only begins like that of a module is another one', async () => {
    await write({ ...sound, 'modules/sales/module.ts': "import '../stock-extra/a.ts';" });
    expect(await messagesOf()).toEqual([expect.stringContaining('which belongs to no module')]);
  });

  test('a folder is found in modulesDir or around the migrations, and a module without one is told', async () => {
    await write({
      'src/parts/sales/module.ts': "import '../../elsewhere/stock/module.ts';",
      'src/elsewhere/stock/contract.ts': '',
      'src/elsewhere/stock/migrations/001_a.sql': '',
    });
    const moved = {
      ...stockModule,
      migrations: pathToFileURL(path.join(root, 'src/elsewhere/stock/migrations/')),
    };
    expect(await messagesOf({ modulesDir: 'src/parts', modules: [moved, salesModule] })).toEqual([
      expect.stringContaining(
        'src/parts/sales/module.ts:1: imports src/elsewhere/stock/module.ts of module stock',
      ),
    ]);
    expect(await messagesOf({ modulesDir: 'src/parts' })).toEqual([
      expect.stringMatching(/^module stock: has no folder src\/parts\/stock, .*modulesDir/),
      expect.stringContaining('which belongs to no module'),
    ]);
  });

  test('a module alone needs no folder: there is nobody else to import', async () => {
    expect(await messagesOf({ modules: [stockModule] })).toEqual([]);
  });
});

describe('uses', () => {
  const using = (name: string, ...uses: string[]): Pick<Module, 'name' | 'uses'> => ({
    name,
    uses: new Set([name, ...uses]),
  });

  test.each([
    ['none', [using('a', 'b', 'c'), using('b', 'c'), using('c')], []],
    ['two', [using('b', 'a'), using('a', 'b')], ['module a: uses b, which uses a']],
    [
      'three, reached from outside',
      [using('x', 'b'), using('b', 'c'), using('c', 'a'), using('a', 'b')],
      ['module a: uses b, which uses c, which uses a'],
    ],
    [
      'two that share a module',
      [using('a', 'b', 'c'), using('b', 'a'), using('c', 'a')],
      ['module a: uses b, which uses a', 'module a: uses c, which uses a'],
    ],
  ])('cycles of %s', (_what, given, expected) => {
    const found = cyclesOfUses(given).map(describeViolation);
    expect(found).toEqual(
      expected.map((start) => expect.stringContaining(`${start}: let one of them`) as string),
    );
  });
});

describe('the ratchet', () => {
  const old = { layer: 'imports', where: 'a.ts', what: 'imports b.ts', fix: 'stop it', line: 4 } as const;
  const other = { layer: 'catalog', where: 'view a.b', what: 'touches c.d', fix: 'drop it' } as const;
  const findings = (violations: readonly (typeof old | typeof other)[], objects?: number) => ({
    violations,
    files: 1,
    imports: 1,
    objects,
  });

  test('what is in the file passes wherever its line is, what is not fails, what is gone is stale', () => {
    const todo = readTodo(writeTodo(findings([old]), []), 'boundaries.todo.json');
    expect(compareWithTodo(findings([{ ...old, line: 9 as 4 }]), todo)).toEqual({
      fresh: [],
      recorded: 1,
      stale: [],
    });
    expect(compareWithTodo(findings([old, other], 1), todo)).toEqual({
      fresh: [other],
      recorded: 1,
      stale: [],
    });
    expect(compareWithTodo(findings([]), todo)).toEqual({
      fresh: [],
      recorded: 0,
      stale: [{ layer: 'imports', where: 'a.ts', what: 'imports b.ts' }],
    });
  });

  test('what was recorded of the catalog stays until a database is there to look at', () => {
    const todo = readTodo(writeTodo(findings([old, other], 1), []), 'boundaries.todo.json');
    expect(compareWithTodo(findings([old]), todo).stale).toEqual([]);
    expect(compareWithTodo(findings([old], 1), todo).stale).toHaveLength(1);
    expect(readTodo(writeTodo(findings([]), todo), 'x')).toEqual([
      { layer: 'catalog', where: 'view a.b', what: 'touches c.d' },
    ]);
    expect(readTodo(writeTodo(findings([], 1), todo), 'x')).toEqual([]);
  });

  test.each([
    ['{'],
    ['{}'],
    ['[1]'],
    ['[{"layer":"sql","where":"a","what":"b"}]'],
    ['[{"layer":"uses","where":"a"}]'],
  ])('a file with %s is refused by its name', (text) => {
    expect(() => readTodo(text, 'boundaries.todo.json')).toThrow(
      expect.objectContaining({
        code: 'PL_CONFIG',
        message: expect.stringContaining('boundaries.todo.json') as string,
      }),
    );
  });
});

test('the map shows modules with their tables, uses and events', () => {
  const relations = [
    { schema: 'sales', name: 'orders', isTable: true },
    { schema: 'sales', name: 'open_orders', isTable: false },
    { schema: 'public', name: 'users', isTable: true },
  ];
  expect(renderMap({ name: 'shop', modules, relations })).toBe(`# Modules of shop

Written by \`plimsoll check boundaries --map\`. A line is \`uses\`, a dotted line an event and the subscription it sets off; in each module are its tables.

\`\`\`mermaid
flowchart LR
  m_stock["<b>stock</b>"]
  m_sales["<b>sales</b><br/>orders"]
  m_sales --> m_stock
  m_stock -. "low → pause" .-> m_sales
\`\`\`

| module | commands | queries | events |
| --- | --- | --- | --- |
| stock |  |  | \`low\` |
| sales |  |  |  |
`);
});
