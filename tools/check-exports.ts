/**
 * Checks that folders, subpath exports and docs pages are the same set: `node tools/check-exports.ts [root]`.
 * Reports every violation at once.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { report } from './report.ts';
import type { Findings } from './report.ts';
import { listCommandExports, listFiles, listFolders, listPackages, parse } from './source-tree.ts';
import type { Package } from './source-tree.ts';

const runtime = 'packages/plimsoll';
const privateFolders = new Set(['kernel', 'durable', 'app', 'modules']);
const pagesFolder = 'docs/patterns';
const headings = ['## Promise', '## When not to use it', '## Usage', '## Defaults', '## Failures'];

interface Entry {
  readonly owner: Package;
  /** As in package.json: `.` or `./load`. */
  readonly subpath: string;
  readonly target: unknown;
  /** The index.ts behind it, from the root. */
  readonly index: string;
  /** The docs page that belongs to it. */
  readonly page: string;
}

function listEntries(owner: Package): Entry[] {
  const files = ['./package.json', ...listCommandExports(owner.manifest)];
  const modules = Object.entries(owner.manifest.exports ?? {}).filter(
    ([subpath]) => !files.includes(subpath),
  );
  return modules.map(([subpath, target]) => {
    const name = subpath === '.' ? path.posix.basename(owner.name) : subpath.slice(2);
    const index = path.posix.join(owner.folder, 'src', subpath, 'index.ts');
    return { owner, subpath, target, index, page: `${pagesFolder}/${name}.md` };
  });
}

/** In the runtime each subpath needs its page; its root needs none, because it holds the subpaths. */
const needsPage = ({ owner, subpath }: Entry): boolean => owner.folder === runtime && subpath !== '.';

function expectedTarget(subpath: string): Record<string, string> {
  const at = (folder: string, end: string): string => `./${path.posix.join(folder, subpath, `index${end}`)}`;
  // The order matters: Node takes the first condition that holds.
  return { 'plimsoll:source': at('src', '.ts'), types: at('dist', '.d.ts'), default: at('dist', '.js') };
}

function checkEntry(root: string, entry: Entry): string[] {
  const { owner, subpath, target, index, page } = entry;
  const violations: string[] = [];
  const where = `${owner.folder}/package.json: export ${subpath}`;
  const expected = JSON.stringify(expectedTarget(subpath));
  if (JSON.stringify(target) !== expected) violations.push(`${where} must be ${expected}`);
  if (!existsSync(path.join(root, index))) violations.push(`${where} has no ${index}`);
  if (needsPage(entry) && !existsSync(path.join(root, page)))
    violations.push(`${where} has no docs page ${page}`);
  return violations;
}

function checkIndex(root: string, index: string): string[] {
  const text = readFileSync(path.join(root, index), 'utf8');
  const types = parse(text).map(({ type }) => type);
  const violations: string[] = [];
  if (!text.startsWith('/**'))
    violations.push(`${index}: open with a doc comment that says what this promises`);
  if (types.includes('ExportAllDeclaration'))
    violations.push(`${index}: list the names one by one, without export *`);
  if (!types.some((type) => type.startsWith('Export'))) violations.push(`${index}: exports nothing`);
  return violations;
}

function checkFolders(root: string, owner: Package, entries: readonly Entry[]): string[] {
  const folders = listFolders(root, `${owner.folder}/src`).filter((folder) => !privateFolders.has(folder));
  return folders.flatMap((folder) => {
    const where = `${owner.folder}/src/${folder}`;
    const violations: string[] = [];
    if (!existsSync(path.join(root, where, 'index.ts'))) violations.push(`${where}: has no index.ts`);
    if (!entries.some(({ subpath }) => subpath === `./${folder}`)) {
      violations.push(`${where}: has no export ./${folder} in ${owner.folder}/package.json`);
    }
    return violations;
  });
}

function checkPage(root: string, page: string, known: ReadonlySet<string>): string[] {
  const text = readFileSync(path.join(root, page), 'utf8').replaceAll(/^```.*?^```/gms, '');
  const lines = new Set(text.split('\n').map((line) => line.trimEnd()));
  const missing = headings.filter((heading) => !lines.has(heading));
  const violations = missing.map((heading) => `${page}: has no heading "${heading}"`);
  return known.has(page) ? violations : [`${page}: belongs to no export`, ...violations];
}

/** Nothing to look at is a violation too: a check that reads no file must not pass. */
export function checkExports(root: string): Findings {
  const packages = listPackages(root);
  const entries = packages.flatMap(listEntries);
  const indexes = entries.map(({ index }) => index).filter((index) => existsSync(path.join(root, index)));
  const pages = listFiles(root, pagesFolder).filter((file) => file.endsWith('.md'));
  const known = new Set(entries.map(({ page }) => page));
  const violations = [
    ...packages
      .filter((owner) => owner.folder === runtime)
      .flatMap((owner) => checkFolders(root, owner, entries)),
    ...entries.flatMap((entry) => checkEntry(root, entry)),
    ...indexes.flatMap((index) => checkIndex(root, index)),
    ...pages.flatMap((page) => checkPage(root, page, known)),
  ];
  if (indexes.length === 0) violations.push('no index.ts behind an export was found to check');
  if (pages.length === 0) violations.push(`no docs page was found in ${pagesFolder} to check`);
  return {
    violations,
    read: `${entries.length} exports, ${indexes.length} index.ts and ${pages.length} pages read`,
  };
}

if (import.meta.main)
  report(checkExports(path.resolve(process.argv[2] ?? path.join(import.meta.dirname, '..'))));
