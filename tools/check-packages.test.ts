import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { importAll } from './check-packages.ts';
import { writeTree } from './planted-trees.ts';
import { runProgram } from './steps.ts';
import type { Outcome } from './steps.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** Runs the import of every subpath in a project that holds one package with these exports. */
async function importFrom(exports: Record<string, string>): Promise<Outcome> {
  using consumer = temporaryFolder();
  const manifest = { name: 'plimsoll', type: 'module', bin: { plimsoll: 'bin/plimsoll.js' }, exports };
  writeTree(
    consumer.path,
    new Map([
      ['node_modules/plimsoll/package.json', JSON.stringify(manifest)],
      ['node_modules/plimsoll/dist/index.js', 'export const one = 1;'],
      ['node_modules/plimsoll/dist/broken.js', "import 'not-installed';"],
      ['node_modules/plimsoll/src/index.js', 'export const one = 1;'],
    ]),
  );
  const packages = [{ folder: 'packages/plimsoll', name: 'plimsoll', manifest }];
  writeFileSync(path.join(consumer.path, 'import-all.mjs'), importAll(packages));
  return await runProgram(consumer.path, process.execPath, 'import-all.mjs');
}

test('every subpath but that of a command is imported from dist', async () => {
  const files = { './bin': './bin/plimsoll.js', './package.json': './package.json' };
  const exports = { '.': './dist/index.js', './one': './dist/index.js', ...files };
  expect(await importFrom(exports)).toEqual({ ok: true, output: '3 subpaths imported\n' });
});

test.each([
  ['a file that was not packed', './dist/gone.js', 'ERR_MODULE_NOT_FOUND'],
  ['an undeclared dependency', './dist/broken.js', "Cannot find package 'not-installed'"],
  ['the source instead of the build', './src/index.js', 'plimsoll/one is served from'],
])('%s fails', async (_what, target, message) => {
  const { ok, output } = await importFrom({ '.': './dist/index.js', './one': target });
  expect(ok).toBe(false);
  expect(output).toContain(message);
});
