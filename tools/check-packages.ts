/**
 * `npm run check:packages`: what users get. Builds and packs each public package, lets publint and attw judge the
 * tarballs, then installs them in an empty project and uses every exported subpath there.
 * publint and attw live in tools/package-check with their own lockfile, installed by this command alone.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { listCommandExports, listPackages, readManifest } from './source-tree.ts';
import type { Package } from './source-tree.ts';
import { runProgram, runSteps } from './steps.ts';
import type { Outcome, Step } from './steps.ts';
import { temporaryFolder } from './temporary-folder.ts';

const root = path.join(import.meta.dirname, '..');
const checkers = path.join(import.meta.dirname, 'package-check');

const step = (name: string, folder: string, program: string, args: readonly string[]): Step => ({
  name,
  run: () => runProgram(folder, program, ...args),
});

function listSpecifiers(packages: readonly Package[]): string[] {
  return packages.flatMap(({ name, manifest }) => {
    const commands = listCommandExports(manifest);
    const subpaths = Object.keys(manifest.exports ?? {}).filter((subpath) => !commands.includes(subpath));
    return subpaths.map((subpath) => path.posix.join(name, subpath));
  });
}

/** A module that imports each subpath under plain Node.js, and fails unless all of them come from dist/. */
export function importAll(packages: readonly Package[]): string {
  return `
    const specifiers = ${JSON.stringify(listSpecifiers(packages))};
    for (const specifier of specifiers) {
      const json = specifier.endsWith('.json');
      const file = import.meta.resolve(specifier);
      if (!json && !file.includes('/dist/')) throw new Error(specifier + ' is served from ' + file);
      await import(specifier, json ? { with: { type: 'json' } } : {});
    }
    console.log(specifiers.length + ' subpaths imported');
  `;
}

/** The same for types: compiled without skipLibCheck, it fails when declarations need types that users do not get. */
function compileAll(packages: readonly Package[]): string {
  const specifiers = listSpecifiers(packages).filter((specifier) => !specifier.endsWith('.json'));
  return specifiers.map((specifier, at) => `export type T${at} = typeof import('${specifier}');\n`).join('');
}

/** Optional peers and their types, in the versions that the package itself is developed with. */
function listOptionalPeers(packages: readonly Package[]): string[] {
  return packages.flatMap(({ manifest: { peerDependencies = {}, devDependencies = {} } }) =>
    Object.keys(peerDependencies)
      .flatMap((name) => [name, `@types/${name}`])
      .flatMap((name) => (devDependencies[name] === undefined ? [] : [`${name}@${devDependencies[name]}`])),
  );
}

/** Without skipLibCheck. A peer's own declarations may be at odds with themselves (drizzle-orm's are); ours may not. */
async function compileStrictly(consumer: string, args: readonly string[]): Promise<Outcome> {
  const { ok, output } = await runProgram(consumer, 'tsc', ...args);
  const errors = output.split('\n').filter((line) => / error TS\d+:/.test(line));
  const ours = errors.filter((line) => !/^node_modules\/(?!@?plimsoll\/)/.test(line));
  return { ok: ok || (errors.length > 0 && ours.length === 0), output: ours.join('\n') || output };
}

/** `npx plimsoll --help` must say something about plimsoll: a bin that ends well and silently does nothing. */
async function askForHelp(consumer: string): Promise<Outcome> {
  const { ok, output } = await runProgram(consumer, 'npx', '--no-install', 'plimsoll', '--help');
  return {
    ok: ok && /^(?!npm ).*plimsoll/im.test(output),
    output: output || 'plimsoll --help printed nothing',
  };
}

async function checkPackages(): Promise<boolean> {
  using folder = temporaryFolder();
  const at = (name: string): string => path.join(folder.path, name);
  const [tarballFolder, consumer] = [at('tarballs'), at('consumer')];
  const app = path.join(consumer, 'first-app');
  for (const name of [tarballFolder, consumer]) mkdirSync(name);

  const packages = listPackages(root).filter(({ manifest }) => manifest.private !== true);
  const prepare = [
    step('build', root, process.execPath, ['tools/build.ts']),
    step('install publint and attw', root, process.execPath, ['tools/bootstrap.mjs', checkers]),
    ...packages.map(({ folder: from }) =>
      step(`pack ${from}`, root, 'npm', ['pack', `./${from}`, '--pack-destination', tarballFolder]),
    ),
  ];
  if (!(await runSteps(prepare))) return false;

  const tarballs = readdirSync(tarballFolder).map((name) => path.join(tarballFolder, name));
  if (tarballs.length !== packages.length)
    throw new Error(`${packages.length} packages made ${tarballs.length} tarballs`);
  const bin = (name: string): string => path.join(checkers, 'node_modules/.bin', name);
  const commands = packages.flatMap(({ manifest }) => listCommandExports(manifest));
  const exclude = commands.flatMap((subpath) => ['--exclude-entrypoints', subpath]);
  const attw = ['--profile', 'esm-only', '--no-emoji', '--format', 'table', ...exclude];
  const judge = tarballs.flatMap((tarball) => [
    step(`publint ${path.basename(tarball)}`, root, bin('publint'), ['run', '--strict', tarball]),
    step(`attw ${path.basename(tarball)}`, root, bin('attw'), [tarball, ...attw]),
  ]);
  const judged = await runSteps(judge);

  writeFileSync(
    path.join(consumer, 'package.json'),
    JSON.stringify({ name: 'consumer', private: true, type: 'module' }),
  );
  writeFileSync(path.join(consumer, 'import-all.js'), importAll(packages));
  writeFileSync(path.join(consumer, 'compile-all.ts'), compileAll(packages));
  const nodeTypes = `@types/node@${readManifest(root, '.').devDependencies?.['@types/node']}`;
  const install = ['install', '--no-audit', '--no-fund', nodeTypes, ...tarballs];
  const peers = listOptionalPeers(packages);
  const target = ['--target', 'es2024', '--lib', 'es2024,esnext.disposable', '--module', 'nodenext'];
  const compile = ['--noEmit', '--strict', '--types', 'node', ...target, 'compile-all.ts'];
  const used = await runSteps([
    step('install the tarballs', consumer, 'npm', [...install, ...peers]),
    step('import every subpath', consumer, process.execPath, ['import-all.js']),
    { name: 'compile against every subpath', run: () => compileStrictly(consumer, compile) },
    { name: 'npx plimsoll --help', run: () => askForHelp(consumer) },
    step('plimsoll new', consumer, 'npx', ['--no-install', 'plimsoll', 'new', 'first-app']),
    step('npm install in the new app', app, 'npm', [...install.slice(0, 3), ...tarballs]),
    step('npm test in the new app', app, 'npm', ['test']),
    step('its types', app, 'npm', ['run', 'types']),
  ]);
  return judged && used;
}

if (import.meta.main && !(await checkPackages())) process.exitCode = 1;
