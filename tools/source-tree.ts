import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseAst } from 'vitest/node';

export interface Manifest {
  readonly name?: string;
  readonly private?: boolean;
  readonly bin?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

export interface Package {
  /** From the root, with `/`, as all paths here. */
  readonly folder: string;
  readonly name: string;
  readonly manifest: Manifest;
}

export interface Import {
  readonly specifier: string;
  readonly line: number;
}

export function readManifest(root: string, folder: string): Manifest {
  return JSON.parse(readFileSync(path.join(root, folder, 'package.json'), 'utf8')) as Manifest;
}

export function listFolders(root: string, folder: string): string[] {
  if (!existsSync(path.join(root, folder))) return [];
  const entries = readdirSync(path.join(root, folder), { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .toSorted();
}

export function listPackages(root: string): Package[] {
  const folders = listFolders(root, 'packages').map((name) => `packages/${name}`);
  return folders
    .filter((folder) => existsSync(path.join(root, folder, 'package.json')))
    .map((folder) => {
      const manifest = readManifest(root, folder);
      return { folder, name: manifest.name ?? folder, manifest };
    });
}

/** The exports that are the file of a command: importing one would run it. */
export function listCommandExports({ bin = {}, exports = {} }: Manifest): string[] {
  const commands = new Set<unknown>(Object.values(bin).map((file) => `./${file}`));
  return Object.keys(exports).filter((subpath) => commands.has(exports[subpath]));
}

/** Every file under `folder`, without what is installed, built or hidden. */
export function listFiles(root: string, folder: string): string[] {
  if (!existsSync(path.join(root, folder))) return [];
  const entries = readdirSync(path.join(root, folder), { withFileTypes: true });
  return entries
    .filter(({ name }) => name !== 'node_modules' && name !== 'dist' && !name.startsWith('.'))
    .flatMap((entry) => {
      const file = `${folder}/${entry.name}`;
      return entry.isDirectory() ? listFiles(root, file) : [file];
    })
    .toSorted();
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly [key: string]: unknown;
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && 'type' in value;

function* descend(node: Node): Generator<Node> {
  yield node;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) yield* descend(child);
  }
}

/** The text of a TypeScript file as syntax nodes, in no promised order; throws on a syntax error. */
export function parse(text: string): Node[] {
  return [...descend(parseAst(text, { lang: 'ts' }) as unknown as Node)];
}

const importing = new Set([
  'ImportDeclaration',
  'ExportNamedDeclaration',
  'ExportAllDeclaration',
  'ImportExpression',
  'TSImportType',
]);

/** What a file imports in any way that names a module by a literal: type-only, re-exported and dynamic included. */
export function readImports(text: string): Import[] {
  return parse(text).flatMap((node) => {
    const source = importing.has(node.type) ? node['source'] : undefined;
    if (!isNode(source) || typeof source['value'] !== 'string') return [];
    return [{ specifier: source['value'], line: text.slice(0, source.start).split('\n').length }];
  });
}
