import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { build } from './build.ts';
import { writeTree } from './planted-trees.ts';
import { runProgram } from './steps.ts';
import { temporaryFolder } from './temporary-folder.ts';
import type { TemporaryFolder } from './temporary-folder.ts';

const workspace = path.join(import.meta.dirname, '..');

const manifest = (name: string): string => {
  const target = {
    'plimsoll:source': './src/index.ts',
    types: './dist/index.d.ts',
    default: './dist/index.js',
  };
  return JSON.stringify({ name, version: '1.0.0', type: 'module', exports: { '.': target } });
};

/** The smallest three packages, with the compiler options of this workspace. */
function smallWorkspace(cliSource: string): TemporaryFolder {
  const folder = temporaryFolder();
  const files = new Map([
    ['packages/plimsoll/package.json', manifest('plimsoll')],
    ['packages/plimsoll/src/index.ts', "export { two } from './two.ts';\n"],
    ['packages/plimsoll/src/two.ts', 'export const two: number = 2;\n'],
    ['packages/plimsoll/src/two.test.ts', "import './nowhere.ts';\n"],
    ['packages/plimsoll/src/sql/claim.sql', 'select 1\n'],
    ['packages/embedded/package.json', manifest('@plimsoll/embedded')],
    ['packages/embedded/src/index.ts', 'export const one: number = 1;\n'],
    ['packages/cli/package.json', manifest('@plimsoll/cli')],
    ['packages/cli/src/index.ts', cliSource],
  ]);
  writeTree(folder.path, files);
  copyFileSync(path.join(workspace, 'tsconfig.base.json'), path.join(folder.path, 'tsconfig.base.json'));
  mkdirSync(path.join(folder.path, 'node_modules'));
  for (const name of ['plimsoll', 'embedded', 'cli']) {
    const config = `packages/${name}/tsconfig.build.json`;
    copyFileSync(path.join(workspace, config), path.join(folder.path, config));
  }
  symlinkSync('../packages/plimsoll', path.join(folder.path, 'node_modules/plimsoll'));
  symlinkSync(path.join(workspace, 'node_modules/@types'), path.join(folder.path, 'node_modules/@types'));
  return folder;
}

test(
  'each package is compiled against the built ones, and assets come along',
  { timeout: 30_000 },
  async () => {
    using folder = smallWorkspace(
      "import { two } from 'plimsoll';\nexport const four: number = two * 2;\nconsole.log(four);\n",
    );
    const dist = (name: string): string => path.join(folder.path, 'packages', name);
    writeTree(folder.path, new Map([['packages/plimsoll/dist/stale.js', '']]));
    expect(await build(folder.path, () => {})).toBe(true);
    expect(readFileSync(dist('plimsoll/dist/index.js'), 'utf8')).toContain("from './two.js'");
    expect(readFileSync(dist('plimsoll/dist/sql/claim.sql'), 'utf8')).toBe('select 1\n');
    expect(existsSync(dist('plimsoll/dist/two.d.ts'))).toBe(true);
    expect(existsSync(dist('plimsoll/dist/two.test.js'))).toBe(false);
    expect(existsSync(dist('plimsoll/dist/stale.js'))).toBe(false);
    expect(await runProgram(folder.path, process.execPath, dist('cli/dist/index.js'))).toEqual({
      ok: true,
      output: '4\n',
    });
  },
);

test('a type error across packages fails the build', { timeout: 30_000 }, async () => {
  using folder = smallWorkspace("import { two } from 'plimsoll';\nexport const four: string = two;\n");
  const printed: string[] = [];
  expect(await build(folder.path, (text) => printed.push(text))).toBe(false);
  expect(printed.join('\n')).toContain("Type 'number' is not assignable to type 'string'");
});

test('a package without a place in the order is refused', async () => {
  using folder = smallWorkspace('export {};\n');
  writeTree(folder.path, new Map([['packages/new/package.json', manifest('@plimsoll/new')]]));
  await expect(build(folder.path)).rejects.toThrow('packages/new has no place in the build order');
});
