import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { temporaryFolder } from './temporary-folder.ts';
import type { TemporaryFolder } from './temporary-folder.ts';

/** One file of a small tree, in the txtar format of the Go tools: a comment, then `-- path --` before each file. */
interface Txtar {
  readonly comment: string;
  readonly files: ReadonlyMap<string, string>;
}

export function parseTxtar(text: string): Txtar {
  const [comment = '', ...parts] = text.split(/^-- (.+) --\n/m);
  const files = new Map<string, string>();
  for (let at = 0; at < parts.length; at += 2) files.set(parts[at] ?? '', parts[at + 1] ?? '');
  return { comment, files };
}

export function writeTree(root: string, files: ReadonlyMap<string, string>): void {
  for (const [name, text] of files) {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    writeFileSync(path.join(root, name), text);
  }
}

/**
 * Writes `clean.txtar` of a fixture folder, with the named fixture over it, to a temporary folder. The fixture's
 * comment is what a check must report about it, line by line.
 */
export function plant(fixtures: string, name: string): TemporaryFolder & { readonly expected: string[] } {
  const read = (fixture: string): Txtar =>
    parseTxtar(readFileSync(path.join(fixtures, `${fixture}.txtar`), 'utf8'));
  const { comment, files } = read(name);
  const folder = temporaryFolder();
  writeTree(folder.path, read('clean').files);
  writeTree(folder.path, files);
  return { ...folder, expected: name === 'clean' ? [] : comment.trim().split('\n') };
}

export function listFixtures(fixtures: string): string[] {
  return readdirSync(fixtures).map((file) => path.basename(file, '.txtar'));
}
