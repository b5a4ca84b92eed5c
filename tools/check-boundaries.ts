/**
 * Checks which file imports which and where things live: `node tools/check-boundaries.ts [root]`.
 * Reports every violation at once. The rules for imports are in boundary-rules.ts.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import {
  findBrokenRule,
  layerOf,
  rankOf,
  reach,
  resolveImport,
  runtimeRoot,
  shop,
} from './boundary-rules.ts';
import type { SourceFile, Tree } from './boundary-rules.ts';
import { findCycles } from './import-cycles.ts';
import { report } from './report.ts';
import type { Findings } from './report.ts';
import { listFiles, listPackages, readImports, readManifest } from './source-tree.ts';
import type { Import, Package } from './source-tree.ts';

const junkDrawers = new Set(['utils', 'common', 'helpers']);

function listSources(root: string, owner: Package): string[] {
  const folders = owner.folder === shop ? [shop] : [`${owner.folder}/src`, `${owner.folder}/test`];
  return folders.flatMap((folder) => listFiles(root, folder));
}

function readSource(root: string, file: string, owner: Package): SourceFile {
  const isTest = /\.test(-d)?\.ts$/.test(file) || file.startsWith(`${owner.folder}/test/`);
  return { path: file, owner, isTest, imports: readImports(readFileSync(path.join(root, file), 'utf8')) };
}

function checkNames(files: readonly SourceFile[]): string[] {
  const violations = new Set<string>();
  for (const { path: file } of files) {
    const folders = file.split('/').slice(0, -1);
    const junk = folders.findIndex((folder) => junkDrawers.has(folder));
    if (junk !== -1)
      violations.add(
        `${folders.slice(0, junk + 1).join('/')}: put things beside their use, not in ${folders[junk]}/`,
      );
    if (path.posix.basename(file) === 'types.ts')
      violations.add(`${file}: put types beside their use, not in types.ts`);
    if (!file.startsWith(`${runtimeRoot}/`)) continue;
    const layer = layerOf(file);
    if (layer.endsWith('.ts')) {
      if (!/^index\.(.*\.)?ts$/.test(layer)) violations.add(`${file}: only index.ts lives beside the layers`);
    } else if (rankOf(layer) === -1)
      violations.add(
        `${runtimeRoot}/${layer}: unknown layer; add it to the table in tools/boundary-rules.ts`,
      );
  }
  return [...violations];
}

function describe(file: string, { specifier, line }: Import, broken: string): string {
  return `${file}:${line} imports ${specifier}: ${broken}`;
}

function checkImports(files: readonly SourceFile[], tree: Tree): string[] {
  return files.flatMap((file) =>
    file.imports.flatMap((imported) => {
      const broken = findBrokenRule(file, imported, tree);
      return broken === undefined ? [] : [describe(file.path, imported, broken)];
    }),
  );
}

function checkCycles(files: readonly SourceFile[]): string[] {
  const graph = new Map(
    files.map((file) => {
      const relative = file.imports.filter(({ specifier }) => specifier.startsWith('.'));
      return [file.path, relative.map((it) => ({ ...it, target: resolveImport(file, it.specifier) }))];
    }),
  );
  return findCycles(graph).map(({ file, edge, trail }) =>
    describe(file, edge, `closes the cycle ${trail.join(' -> ')}`),
  );
}

/** Nothing to look at is a violation too: a check that reads no file must not pass. */
export function checkBoundaries(root: string): Findings {
  const packages = listPackages(root);
  const tree: Tree = { root, manifest: readManifest(root, '.'), packages };
  const owners = [
    ...packages,
    { folder: shop, name: '@plimsoll/example-shop', manifest: readManifest(root, shop) },
  ];
  const violations: string[] = [];
  const files: SourceFile[] = [];
  for (const owner of owners) {
    if (!Object.hasOwn(reach, owner.name))
      violations.push(`${owner.folder}: unknown package; add it to the table in tools/boundary-rules.ts`);
    const all = listSources(root, owner);
    const sources = all.filter((file) => file.endsWith('.ts'));
    const unread = owner.folder === shop ? [] : all.filter((file) => /\.([cm][jt]s|js|[jt]sx)$/.test(file));
    violations.push(...unread.map((file) => `${file}: only .ts files are read by this check`));
    if (sources.length === 0) violations.push(`${owner.folder}: no .ts file was found to check`);
    for (const file of sources) {
      try {
        files.push(readSource(root, file, owner));
      } catch (error) {
        violations.push(`${file}: cannot be parsed: ${String(error)}`);
      }
    }
  }
  const imports = files.reduce((sum, file) => sum + file.imports.length, 0);
  if (imports === 0) violations.push('no import was found to check');
  violations.push(...checkNames(files), ...checkImports(files, tree), ...checkCycles(files));
  return { violations, read: `${files.length} files and ${imports} imports read` };
}

if (import.meta.main)
  report(checkBoundaries(path.resolve(process.argv[2] ?? path.join(import.meta.dirname, '..'))));
