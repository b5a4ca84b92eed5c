import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createDatabase } from '../database.ts';
import { assertPossible, routingDefaults, routingProblems, routingSettings } from './options.ts';

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../../docs/patterns/database.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Routing: defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| ([^|]+?) \|/gm)].map(([, option, value]) => [
    option,
    value,
  ]);
  expect(rows).toEqual(Object.entries(routingDefaults).map(([option, value]) => [option, String(value)]));
});

test('every problem is told at once', () => {
  const options = { waitMs: -1, pollMs: Number.NaN, fallbackMax: 0, pooler: 'some', nothing: 1 };
  const problems = routingProblems(options as object, 'sometimes' as 'session', 1);
  expect(problems.map(({ path }) => path)).toEqual([
    'routing.waitMs',
    'routing.pollMs',
    'routing.pooler',
    'routing.nothing',
    'consistency',
    'routing.fallbackMax',
  ]);
});

test('behind an opaque pooler only reads that need no position are possible', () => {
  const url = 'postgres://127.0.0.1:1/none';
  const open = (consistency: 'session' | 'ryw' | 'window' | 'eventual' | 'strong') => (): unknown =>
    createDatabase({ url, replicaUrls: [url], consistency, routing: { pooler: 'opaque' } });
  for (const level of ['session', 'ryw'] as const) {
    expect(open(level)).toThrow(expect.objectContaining({ code: 'PL_CONFIG' }) as Error);
    expect(open(level)).toThrow(/nobody knows which server answers/);
    expect(() => assertPossible(level, 'opaque')).toThrow(/nobody knows which server answers/);
  }
  for (const level of ['window', 'eventual', 'strong'] as const) {
    expect(open(level)).not.toThrow();
    expect(() => assertPossible(level, 'opaque')).not.toThrow();
  }
  expect(() => routingSettings({ pooler: 'opaque', canaryMs: 1_000 }, 'eventual', 1)).toThrow(/canary/);
  expect(routingSettings({ pooler: 'opaque' }, undefined, 0).pooler).toBe('opaque');
});
