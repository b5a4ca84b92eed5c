import { expect, test } from 'vitest';
import { contract } from './contract.ts';
import { module, type Module } from './module.ts';
import type { Owns } from './ownership.ts';
import { createRegistry } from './registry.ts';

const owning = (name: string, owns: object): Module => module(contract(name, {}), { owns: owns as Owns });
const problemsOf = (run: () => unknown): string[] => {
  try {
    run();
  } catch (error) {
    const { code, data } = error as { code: string; data: { problems: { path: string; message: string }[] } };
    expect(code).toBe('PL_CONFIG');
    return data.problems.map(({ path, message }) => `${path}: ${message}`);
  }
  return [];
};

test('a module owns every table of its schema, or exactly the tables it lists', () => {
  const whole = owning('orders', { schema: 'orders' });
  expect(whole.ownsTable('orders', 'anything')).toBe(true);
  expect(whole.ownsTable('public', 'orders')).toBe(false);

  const listed = owning('orders', { tables: ['public.orders', 'sales.line'] });
  expect(listed.schema).toBeUndefined();
  expect(listed.ownsTable('public', 'orders')).toBe(true);
  expect(listed.ownsTable('sales', 'line')).toBe(true);
  expect(listed.ownsTable('public', 'line')).toBe(false);
  expect(listed.ownsTable('sales', 'orders')).toBe(false);
});

test('schema or tables, one of them and never both', () => {
  const either = 'modules.a.owns: give either schema or tables, and not both';
  expect(problemsOf(() => owning('a', {}))).toEqual([either]);
  expect(problemsOf(() => owning('a', { schema: 'a', tables: ['public.a'] }))).toEqual([either]);
});

test('every table is named with its schema, once, and is none of the runtime', () => {
  expect(problemsOf(() => owning('a', { tables: [] }))).toEqual([
    'modules.a.owns.tables: must name at least one table',
  ]);
  expect(
    problemsOf(() =>
      owning('a', { tables: ['orders', 'a.b.c', '.b', 'a.', 'plimsoll.task', 'p.q', 'p.q'] }),
    ).map((problem) => problem.split(':')[0]),
  ).toEqual([0, 1, 2, 3, 4, 6].map((index) => `modules.a.owns.tables.${index}`));
  expect(problemsOf(() => owning('a', { schema: 'plimsoll' }))).toEqual([
    'modules.a.owns.schema: "plimsoll" is the schema of the runtime',
  ]);
});

test('no table has two owners, be it by name or by its schema', () => {
  const a = owning('a', { tables: ['public.orders', 'public.line'] });
  expect(problemsOf(() => createRegistry([a, owning('b', { tables: ['public.line'] })]))).toEqual([
    'modules.b.owns.tables.0: public.line is owned by a',
  ]);
  for (const order of [[0, 1] as const, [1, 0] as const]) {
    const both = [a, owning('b', { schema: 'public' })];
    expect(problemsOf(() => createRegistry(order.map((index) => both[index]!)))).toEqual([
      'modules.a.owns.tables.0: public.orders is in the schema that b owns',
      'modules.a.owns.tables.1: public.line is in the schema that b owns',
    ]);
  }
  expect(problemsOf(() => createRegistry([a, owning('b', { tables: ['public.other'] })]))).toEqual([]);
});
