import { expect, test } from 'vitest';
import { background } from '../kernel/channels.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { createStatementGuard } from './guard.ts';
import { ownersOf, type Owned } from './owners.ts';
import { loadSqlParser } from './sql-parser.ts';

const parser = await loadSqlParser();
const listed = (name: string, ...tables: string[]): Owned => ({
  name,
  schema: undefined,
  ownsTable: (schema, table) => tables.includes(`${schema}.${table}`),
});
const modules = [listed('orders', 'public.orders', 'public.lines'), listed('stock', 'public.items')];

const within = <T>(operation: string, run: () => T): T =>
  runInContext(createContext({ path: [operation] }), run);
const passes = (check: (text: string) => void, operation: string, text: string): boolean => {
  try {
    within(operation, () => check(text));
    return true;
  } catch (error) {
    if (isPlimsollError(error, 'PL_FOREIGN_TABLE')) return false;
    throw error;
  }
};

test('a name without schema is one of public, which tables are listed by', () => {
  const check = createStatementGuard({ modules, parser, scope: {}, foreign: 'refuse' });
  expect(passes(check, 'orders.place', 'select * from orders join public.lines using (id)')).toBe(true);
  expect(passes(check, 'orders.place', 'select * from items')).toBe(false);
  expect(passes(check, 'orders.place', 'select * from other.orders')).toBe(false);
  // One text, two modules: each has its own verdict.
  expect(passes(check, 'stock.place', 'select * from items')).toBe(true);
  expect(passes(check, 'stock.place', 'select * from orders join public.lines using (id)')).toBe(false);
});

test('outside a handler of a module nothing is checked', () => {
  const check = createStatementGuard({ modules, parser, scope: {}, foreign: 'refuse' });
  check('select * from items');
  runInContext(createContext(), () => check('select * from items'));
  expect(passes(check, 'unknown.place', 'select * from items')).toBe(true);
});

test.each([
  ['texts', { maxTexts: 2 }, 'select 1 from orders'],
  ['characters', { maxCharacters: 60 }, `select 1 from orders where ${'true and '.repeat(3)}true`],
])('a text is parsed once while it is among the last %s', (_what, limits, longer) => {
  let parses = 0;
  const counting = {
    ...parser,
    parse(text: string): unknown {
      parses += 1;
      return parser.parse(text);
    },
  };
  const check = createStatementGuard({ modules, parser: counting, scope: {}, foreign: 'refuse', ...limits });
  const run = (text: string): boolean => passes(check, 'orders.place', text);
  run('select * from orders');
  run('select * from orders');
  expect(parses).toBe(1);
  run(longer);
  run('select 2 from orders');
  expect(parses).toBe(3);
  run('select * from orders');
  expect(parses).toBe(4);
});

test('a finding that is only told names who and what, and nobody listening costs nothing', () => {
  const scope = {};
  const check = createStatementGuard({ modules, parser, scope, foreign: 'report' });
  const told: unknown[] = [];
  const stop = background.subscribe((message) => {
    if (message.scope === scope) told.push(message);
  });
  for (let time = 0; time < 3; time += 1) within('orders.place', () => check('select * from items'));
  stop();
  within('orders.place', () => check('select 2 from items'));
  expect(told).toEqual([
    {
      scope,
      what: 'statement of orders.place',
      error: expect.objectContaining({ code: 'PL_FOREIGN_TABLE' }) as Error,
    },
  ]);
});

test('the schema plimsoll is the runtime’s, and a table of nobody has no owner', () => {
  const owners = ownersOf(modules);
  expect([
    owners.table('plimsoll', 'task'),
    owners.table('public', 'items'),
    owners.table('public', 'x'),
  ]).toEqual(['plimsoll', 'stock', undefined]);
});
