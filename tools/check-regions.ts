/**
 * Checks that every code block of the docs is a region of an executed test or example:
 * `node tools/check-regions.ts [--write] [root]`. With `--write` it brings the blocks up to date first.
 *
 * A page says `<!-- region: packages/a/src/b.test.ts#name -->` on the line before the block, the test says
 * `// #region name` and `// #endregion` around the code.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { report } from './report.ts';
import type { Findings } from './report.ts';
import { listFiles } from './source-tree.ts';

const pagesFolder = 'docs';
/** Here no TypeScript goes without a region; elsewhere in the docs a region is kept equal where one is named. */
const strictFolder = 'docs/patterns/';

const regionComment = /^<!-- region: (?<file>\S+)#(?<name>\S+) -->$/;
const executed = /^examples\/.+\.ts$|\.test\.ts$/;
const fence = /^(?<ticks>`{3,})(?<language>\w*)/;
const mergeMarker = /^(<{7}|>{7}) /;

interface Block {
  readonly language: string;
  /** Line numbers from 0; `end` is that of the closing fence. */
  readonly start: number;
  readonly end: number;
  readonly region: { readonly file: string; readonly name: string } | undefined;
}

function findBlocks(lines: readonly string[]): { blocks: Block[]; strayComments: number[] } {
  const blocks: Block[] = [];
  const strayComments = new Set(lines.flatMap((line, at) => (regionComment.test(line) ? [at] : [])));
  for (let at = 0; at < lines.length; at += 1) {
    const { ticks, language = '' } = fence.exec(lines[at] ?? '')?.groups ?? {};
    if (ticks === undefined) continue;
    const closing = lines.findIndex((line, later) => later > at && line.trimEnd() === ticks);
    const end = closing === -1 ? lines.length : closing;
    const { file, name } = regionComment.exec(lines[at - 1] ?? '')?.groups ?? {};
    const region = file === undefined || name === undefined ? undefined : { file, name };
    if (region !== undefined) strayComments.delete(at - 1);
    // A comment inside a block is text of the block.
    for (let inside = at; inside < end; inside += 1) strayComments.delete(inside);
    blocks.push({ language, start: at, end, region });
    at = end;
  }
  return { blocks, strayComments: [...strayComments] };
}

/** The lines of a region without their common indentation; a string says what is wrong. */
export function readRegion(root: string, file: string, name: string): readonly string[] | string {
  if (!executed.test(file)) return `${file} is neither a test nor an example`;
  if (!existsSync(path.join(root, file))) return `there is no ${file}`;
  const lines = readFileSync(path.join(root, file), 'utf8').split(/\r?\n/);
  const starts = lines.flatMap((line, at) => (line.trim() === `// #region ${name}` ? [at] : []));
  const [start] = starts;
  if (start === undefined) return `${file} has no region ${name}`;
  if (starts.length > 1) return `${file} has ${starts.length} regions ${name}`;
  const length = lines.slice(start + 1).findIndex((line) => /^\s*\/\/ #(end)?region\b/.test(line));
  const end = start + 1 + length;
  if (length === -1 || !lines[end]?.includes('#endregion'))
    return `region ${name} of ${file} has no end of its own`;
  const content = lines.slice(start + 1, end).map((line) => line.trimEnd());
  const indents = content.filter((line) => line !== '').map((line) => /^ */.exec(line)?.[0].length ?? 0);
  if (indents.length === 0) return `region ${name} of ${file} is empty`;
  const common = Math.min(...indents);
  return content.map((line) => line.slice(common));
}

/** The page's violations, and its text with every block as its region has it. */
function checkPage(root: string, page: string): { violations: string[]; updated: string; regions: number } {
  const text = readFileSync(path.join(root, page), 'utf8');
  const lines = text.split('\n');
  const { blocks, strayComments } = findBlocks(lines);
  const violations = [
    ...strayComments.map((at) => `${page}:${at + 1}: no code block follows the region comment`),
    ...lines.flatMap((line, at) =>
      mergeMarker.test(line) ? [`${page}:${at + 1}: both sides of a merge are left`] : [],
    ),
  ];
  const updated = [...lines];
  // From the end, so that line numbers before a replaced block stay true.
  for (const { language, start, end, region } of blocks.toReversed()) {
    const where = `${page}:${start + 1}`;
    if (region === undefined) {
      if (page.startsWith(strictFolder) && /^(ts|typescript)$/.test(language))
        violations.push(`${where}: no region comment before the TypeScript block`);
      continue;
    }
    const content = readRegion(root, region.file, region.name);
    if (typeof content === 'string') {
      violations.push(`${where}: ${content}`);
      continue;
    }
    if (lines.slice(start + 1, end).join('\n') !== content.join('\n'))
      violations.push(`${where}: differs from region ${region.name} of ${region.file}; run with --write`);
    updated.splice(start + 1, end - start - 1, ...content);
  }
  const regions = blocks.filter(({ region }) => region !== undefined).length;
  return { violations: violations.toSorted(byLine), updated: updated.join('\n'), regions };
}

function byLine(one: string, other: string): number {
  const line = (violation: string): number => Number(violation.split(':')[1]);
  return line(one) - line(other);
}

function listPages(root: string): string[] {
  const readme = existsSync(path.join(root, 'README.md')) ? ['README.md'] : [];
  return [...readme, ...listFiles(root, pagesFolder).filter((file) => file.endsWith('.md'))];
}

/** Brings every block up to date with its region, where there is one. */
export function writeRegions(root: string): void {
  for (const page of listPages(root)) {
    const { updated } = checkPage(root, page);
    const file = path.join(root, page);
    if (updated !== readFileSync(file, 'utf8')) writeFileSync(file, updated);
  }
}

/** Nothing to look at is a violation too: a check that reads no block must not pass. */
export function checkRegions(root: string): Findings {
  const pages = listPages(root);
  const results = pages.map((page) => checkPage(root, page));
  const regions = results.reduce((sum, result) => sum + result.regions, 0);
  const violations = results.flatMap((result) => result.violations);
  if (regions === 0) violations.push(`no code block with a region was found in ${pagesFolder} to check`);
  return { violations, read: `${pages.length} pages and ${regions} regions read` };
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    options: { write: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const root = path.resolve(positionals[0] ?? path.join(import.meta.dirname, '..'));
  if (values.write) writeRegions(root);
  report(checkRegions(root));
}
