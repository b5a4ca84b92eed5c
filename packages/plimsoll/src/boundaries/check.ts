import type { Queryable } from '../database/statements.ts';
import type { Module } from '../modules/module.ts';
import { checkCatalog } from './catalog.ts';
import { checkImports } from './imports.ts';
import { cyclesOfUses } from './uses.ts';
import type { Violation } from './violation.ts';

export interface CheckOptions {
  readonly modules: readonly Module[];
  /** The folder of the project, absolute. */
  readonly root: string;
  /** From the root; one folder per module. Default `modules`. */
  readonly modulesDir?: string;
  /** A migrated database; without it the catalog is not checked. */
  readonly database?: Queryable;
}

export interface BoundaryFindings {
  readonly violations: readonly Violation[];
  /** What was looked at: a check that reads nothing proves nothing. */
  readonly files: number;
  readonly imports: number;
  /** Objects of the catalog; undefined when it was not checked. */
  readonly objects: number | undefined;
}

/** Imports, cycles of `uses` and, given a database, its catalog; every violation at once. */
export async function checkBoundaries(options: CheckOptions): Promise<BoundaryFindings> {
  const { modules, database } = options;
  const { violations, files, imports } = checkImports(options);
  const catalog = database === undefined ? undefined : await checkCatalog(database, modules);
  return {
    violations: [...violations, ...cyclesOfUses(modules), ...(catalog?.violations ?? [])],
    files,
    imports,
    objects: catalog?.objects,
  };
}
