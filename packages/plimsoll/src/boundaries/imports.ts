import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Module } from '../modules/module.ts';
import { readImports, UnreadableSource } from './read-imports.ts';
import type { Violation } from './violation.ts';

export interface ImportOptions {
  readonly modules: readonly Pick<Module, 'name' | 'migrations'>[];
  /** The folder of the project, absolute. */
  readonly root: string;
  /** From the root; one folder per module. Default `modules`. */
  readonly modulesDir?: string;
}

export interface ImportFindings {
  readonly violations: readonly Violation[];
  readonly files: number;
  readonly imports: number;
}

const sources = /(?<!\.d)\.[cm]?[jt]sx?$/;
const tests = /\.(test|spec|test-d)\.[cm]?[jt]sx?$/;
const contract = /^contract(\.[cm]?[jt]s)?$/;
const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/**
 * Where a module lives: the folder of its name in `modulesDir`, else the one that holds its migrations,
 * if a contract lies there.
 */
export function folderOf(
  { name, migrations }: ImportOptions['modules'][number],
  modulesDir: string,
): string | undefined {
  const named = [name, kebab(name)].map((folder) => path.join(modulesDir, folder));
  const beside = migrations?.protocol === 'file:' ? [path.dirname(trimmed(fileURLToPath(migrations)))] : [];
  return (
    named.find((folder) => existsSync(folder)) ??
    beside.find((folder) => existsSync(folder) && readdirSync(folder).some((file) => contract.test(file)))
  );
}

/** A module's files import their own files, contracts of other modules and packages; its tests also what belongs to no module. */
export function checkImports(options: ImportOptions): ImportFindings {
  const { root, modules } = options;
  const modulesDir = path.resolve(root, options.modulesDir ?? 'modules');
  const folders = new Map<string, string>();
  const violations: Violation[] = [];
  for (const module of modules) {
    const folder = folderOf(module, modulesDir);
    if (folder !== undefined) folders.set(module.name, folder);
    // One module alone has nobody's files to import.
    else if (modules.length > 1)
      violations.push({
        layer: 'imports',
        where: `module ${module.name}`,
        what: `has no folder ${shown(root, path.join(modulesDir, kebab(module.name)))}, so its imports cannot be checked`,
        fix: 'give it one, or say in the plan where modules are: boundaries: { modulesDir }',
      });
  }
  const ownerOf = (file: string): string | undefined =>
    [...folders].find(([, folder]) => file === folder || file.startsWith(folder + path.sep))?.[0];

  let files = 0;
  let imports = 0;
  for (const [name, folder] of folders) {
    for (const file of filesUnder(folder)) {
      files += 1;
      const where = shown(root, file);
      try {
        for (const { specifier, line } of readImports(readFileSync(file, 'utf8'))) {
          imports += 1;
          const wrong = judge(name, file, specifier);
          if (wrong !== undefined) violations.push({ layer: 'imports', where, line, ...wrong });
        }
      } catch (error) {
        if (!(error instanceof UnreadableSource)) throw error;
        violations.push({
          layer: 'imports',
          where,
          what: `cannot be read, ${error.message}`,
          fix: 'correct it',
        });
      }
    }
  }
  return { violations, files, imports };

  function judge(name: string, file: string, specifier: string): Pick<Violation, 'what' | 'fix'> | undefined {
    if (/^(#|\/|file:)/.test(specifier))
      return {
        what: `imports ${specifier}, which may lead anywhere`,
        fix: 'write a relative path or the name of a package',
      };
    if (!specifier.startsWith('.')) return undefined;
    const target = path.resolve(path.dirname(file), specifier.replace(/[?#].*$/, ''));
    const owner = ownerOf(target);
    if (owner === name) return undefined;
    if (owner !== undefined) {
      return contract.test(path.relative(folders.get(owner) ?? '', target))
        ? undefined
        : {
            what: `imports ${shown(root, target)} of module ${owner}`,
            fix: `import the contract.ts of ${owner} and call it, or put what both need into a package`,
          };
    }
    return tests.test(file)
      ? undefined
      : {
          what: `imports ${shown(root, target)}, which belongs to no module`,
          fix: `move it into module ${name} or into a package, or hand it in from outside`,
        };
  }
}

/** Every source file under a folder, without what is installed, built or hidden. */
function filesUnder(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter(({ name }) => name !== 'node_modules' && name !== 'dist' && !name.startsWith('.'))
    .toSorted((one, other) => (one.name < other.name ? -1 : 1))
    .flatMap((entry) => {
      const file = path.join(folder, entry.name);
      if (entry.isDirectory()) return filesUnder(file);
      return sources.test(entry.name) ? [file] : [];
    });
}

/** With `/`, from the root. */
const shown = (root: string, file: string): string => path.relative(root, file).replaceAll(path.sep, '/');
const trimmed = (folder: string): string => folder.replace(/[/\\]+$/, '');
