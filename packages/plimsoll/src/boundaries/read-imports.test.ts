import { globSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseAst } from 'vitest/node';
import { readImports } from './read-imports.ts';

const specifiers = (source: string): string[] => readImports(source).map(({ specifier }) => specifier);

test.each([
  ["import './a'", ['./a']],
  ["import a from './a'", ['./a']],
  ["import a, { type b, c as d } from './a'", ['./a']],
  ["import type { A } from './a'", ['./a']],
  ["import type from './a'", ['./a']],
  ["import from from './a'", ['./a']],
  ['import * as a from "./a"', ['./a']],
  ["import {\n  'a b' as c,\n}\nfrom\n'./a'", ['./a']],
  ["import json from './a.json' with { type: 'json' }", ['./a.json']],
  [
    "export { a } from './a'; export * from './b'; export * as c from './c'; export type { D } from './d'",
    ['./a', './b', './c', './d'],
  ],
  ["const a = await import('./a'); import(`./b`)", ['./a', './b']],
  ["let a: import('./a').A", ['./a']],
  ["import a = require('./a')", ['./a']],
  ["export { a }\nimport b from './b'", ['./b']],
  ["a.import('./a'); import.meta.url; ({ import: './b' })", []],
  ["// import './a'\n/* import './b' */ 'import \"./c\"'", []],
  ["`import './a' ${`}${import('./b')}`} import './c'`; import './d'", ['./b', './d']],
  ["const r = /[/'`]/g; import('./a')", ['./a']],
  ["const half = a / b; import('./a'); c / d", ['./a']],
  ["return /`/.test(x); import './a'", ['./a']],
  ["const x = <p>it's here</p>\nimport './a'", ['./a']],
  ['#!/usr/bin/env node\nimport "./a"', ['./a']],
  ["export type From = { from: './a' }; export default 'b'", []],
])('%s', (source, expected) => {
  expect(specifiers(source)).toEqual(expected);
});

test('each has its line', () => {
  expect(readImports("import './a'\n\n/*\n*/ import './b'\n")).toEqual([
    { specifier: './a', line: 1 },
    { specifier: './b', line: 4 },
  ]);
});

test.each([
  ['a template', 'const a = `open'],
  ['a comment', '/* open'],
])('%s without an end is refused, so that nothing behind it goes unseen', (_what, source) => {
  expect(() => readImports(source)).toThrow('has no end');
});

/** What a parser finds. */
function parsed(source: string): string[] {
  const found: { readonly at: number; readonly specifier: string }[] = [];
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const node = value as {
      readonly type?: unknown;
      readonly source?: { readonly value?: unknown; readonly start: number };
    };
    if (typeof node.type === 'string' && /^(Import|Export|TSImportType)/.test(node.type)) {
      const specifier = node.source?.value;
      if (typeof specifier === 'string') found.push({ at: node.source!.start, specifier });
    }
    for (const child of Object.values(value)) walk(child);
  };
  walk(parseAst(source, { lang: 'ts' }));
  return found.toSorted((one, other) => one.at - other.at).map(({ specifier }) => specifier);
}

test('it finds what a parser finds in every file of this repository', () => {
  const root = new URL('../../../../', import.meta.url).pathname;
  const files = globSync(['packages/*/{src,test}/**/*.ts', 'examples/**/*.ts', 'tools/**/*.ts'], {
    cwd: root,
    exclude: (name) => name === 'node_modules' || name === 'dist' || name.startsWith('.'),
  }).filter((file) => !/node_modules|fixtures/.test(file));
  expect(files.length).toBeGreaterThan(200);
  let imports = 0;
  for (const file of files) {
    const source = readFileSync(root + file, 'utf8');
    const expected = parsed(source);
    expect({ file, imports: specifiers(source) }).toEqual({ file, imports: expected });
    imports += expected.length;
  }
  expect(imports).toBeGreaterThan(1000);
});
