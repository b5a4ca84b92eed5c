/** Which file may import which. Move a row of these tables when the truth moves, and say why in the commit. */
import { existsSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import type { Import, Manifest, Package } from './source-tree.ts';

/** Folders of packages/plimsoll/src: a row imports the rows above it, never a neighbour. */
const layers: readonly (readonly string[])[] = [
  ['kernel'],
  ['breaker', 'retry', 'timeout', 'bulkhead', 'limit', 'queue'],
  ['policy', 'shed'],
  ['database'],
  ['rate-limit', 'http-cache'],
  ['durable'],
  ['outbox', 'jobs', 'cache', 'idempotency', 'saga', 'pg', 'kysely', 'drizzle'],
  ['views'],
  ['modules'],
  ['gateway', 'telemetry', 'client', 'boundaries'],
  ['express', 'redis', 'memcached', 'bullmq', 'http-client'],
  ['app'],
  ['nest'],
  ['testing'],
];

/** Which workspace packages tests may import besides: real servers come from the embedded package. */
export const testReach: readonly string[] = ['@plimsoll/embedded'];

/** Which workspace packages each one may import. */
export const reach: Readonly<Record<string, readonly string[]>> = {
  plimsoll: [],
  '@plimsoll/embedded': [],
  '@plimsoll/cli': ['plimsoll', '@plimsoll/embedded'],
  '@plimsoll/example-shop': ['plimsoll', '@plimsoll/embedded', '@plimsoll/cli'],
};

export const runtimeRoot = 'packages/plimsoll/src';
export const shop = 'examples/shop';

export interface SourceFile {
  readonly path: string;
  readonly owner: Package;
  readonly isTest: boolean;
  readonly imports: readonly Import[];
}

export interface Tree {
  readonly root: string;
  readonly manifest: Manifest;
  readonly packages: readonly Package[];
}

type Rule = (file: SourceFile, target: string, tree: Tree) => string | undefined;

/** The folder of the runtime that holds a file, or the file's own name when none does. */
export const layerOf = (file: string): string => file.slice(runtimeRoot.length + 1).split('/')[0] ?? '';
export const rankOf = (layer: string): number => layers.findIndex((row) => row.includes(layer));
const moduleOf = (file: string): string | undefined => /^examples\/shop\/modules\/([^/]+)\//.exec(file)?.[1];
const isBarrel = (file: string): boolean => file.endsWith('/index.ts');
const isRootIndex = (file: SourceFile): boolean => file.path === `${file.owner.folder}/src/index.ts`;

const insidePackage: Rule = (file, target) =>
  target.startsWith(`${file.owner.folder}/`)
    ? undefined
    : 'a relative path must not leave its package; import the package by name';

const exists: Rule = (_file, target, tree) =>
  existsSync(path.join(tree.root, target)) ? undefined : 'there is no such file';

const noBarrel: Rule = (file, target) =>
  isBarrel(target) && !file.isTest && !isRootIndex(file)
    ? 'import the file that holds it, not the index.ts of a folder'
    : undefined;

const layered: Rule = (file, target) => {
  if (file.isTest || !file.path.startsWith(`${runtimeRoot}/`) || !target.startsWith(`${runtimeRoot}/`))
    return undefined;
  const [from, to] = [layerOf(file.path), layerOf(target)];
  if (isRootIndex(file)) return to === 'testing' ? 'the root index.ts must not import testing' : undefined;
  if (from === to || rankOf(from) === -1 || rankOf(to) === -1 || rankOf(to) < rankOf(from)) return undefined;
  if (rankOf(to) === rankOf(from))
    return `${from} and ${to} are neighbours; declare a port in a layer above both`;
  return `${from} is a layer above ${to} and must not know it`;
};

const betweenModules: Rule = (file, target) => {
  const [from, to] = [moduleOf(file.path), moduleOf(target)];
  if (from === undefined || from === to) return undefined;
  if (to !== undefined)
    return target === `${shop}/modules/${to}/contract.ts`
      ? undefined
      : `of module ${to} only contract.ts may be imported`;
  return file.isTest ? undefined : 'a module imports its own files, contracts and packages only';
};

const fileRules: readonly Rule[] = [insidePackage, exists, noBarrel, layered, betweenModules];

const fromPackage: Rule = (file, specifier, tree) => {
  if (isBuiltin(specifier)) return specifier.startsWith('node:') ? undefined : `write node:${specifier}`;
  const [name = '', subpath] = /^((?:@[^/]+\/)?[^/]+)(\/.+)?$/.exec(specifier)?.slice(1) ?? [];
  const sibling = tree.packages.find((candidate) => candidate.name === name);
  if (sibling === file.owner && !file.isTest) return 'inside a package import the file by its relative path';
  if (sibling !== undefined) {
    const allowed = [...(reach[file.owner.name] ?? []), ...(file.isTest ? testReach : [])];
    if (sibling !== file.owner && !allowed.includes(name))
      return `${file.owner.name} must not import ${name}`;
    if (moduleOf(file.path) !== undefined && !file.isTest && name !== 'plimsoll')
      return `a module must not import ${name}`;
    if (!Object.hasOwn(sibling.manifest.exports ?? {}, `.${subpath ?? ''}`))
      return `${name} does not export .${subpath ?? ''}`;
  }
  return sibling === file.owner || isDeclared(file, name, tree)
    ? undefined
    : `declare ${name} in ${file.owner.folder}/package.json`;
};

function isDeclared(file: SourceFile, name: string, tree: Tree): boolean {
  const { dependencies, optionalDependencies, peerDependencies, devDependencies } = file.owner.manifest;
  const forTests = file.isTest ? [devDependencies, tree.manifest.devDependencies] : [];
  return [dependencies, optionalDependencies, peerDependencies, ...forTests].some(
    (declared) => declared !== undefined && Object.hasOwn(declared, name),
  );
}

/** What is wrong with one import, if anything; `undefined` is a lawful one. */
export function findBrokenRule(file: SourceFile, { specifier }: Import, tree: Tree): string | undefined {
  if (!specifier.startsWith('.')) return fromPackage(file, specifier, tree);
  const target = resolveImport(file, specifier);
  return fileRules.map((rule) => rule(file, target, tree)).find((broken) => broken !== undefined);
}

export function resolveImport(file: SourceFile, specifier: string): string {
  return path.posix.join(path.posix.dirname(file.path), specifier);
}
