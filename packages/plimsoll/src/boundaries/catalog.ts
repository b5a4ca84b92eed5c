import type { Queryable } from '../database/statements.ts';
import {
  foreignKeys,
  functions,
  relations,
  triggers,
  views,
  type ForeignKeyRow,
  type FunctionRow,
  type Relation,
  type TriggerRow,
  type ViewRow,
} from './catalog-rows.ts';
import { functionUse, type FunctionUse } from './function-use.ts';
import { ownersOf, runtimeSchema, type Owned } from './owners.ts';
import { loadSqlParser } from './sql-parser.ts';
import type { Violation } from './violation.ts';

export interface CatalogFindings {
  readonly violations: readonly Violation[];
  /** Foreign keys, views, functions and triggers that were looked at. */
  readonly objects: number;
}

/** A relation as the catalog holds it. */
export interface CatalogRelation extends Relation {
  /** A view is none, nor is a partition of another table. */
  readonly isTable: boolean;
}

export function readRelations(database: Queryable): Promise<readonly CatalogRelation[]> {
  return database.query<CatalogRelation>(relations);
}

/**
 * Objects of a migrated database that tie what different modules own. What a function builds as text and
 * executes cannot be seen.
 */
export async function checkCatalog(database: Queryable, modules: readonly Owned[]): Promise<CatalogFindings> {
  const owners = ownersOf(modules);
  const nobody = 'no module';
  const ownerOf = ({ schema, name }: Relation): string => owners.table(schema, name) ?? nobody;
  const known = new Set((await readRelations(database)).map(({ schema, name }) => `${schema}.${name}`));
  const violations: Violation[] = [];

  /** Objects that tie more than one owner; what nobody owns counts as one owner more. */
  const judge = (
    where: string,
    owner: string | undefined,
    targets: readonly { readonly owner: string; readonly shown: string }[],
    fix: string,
  ): boolean => {
    const first = owner ?? targets[0]?.owner;
    const foreign = targets.filter((target) => target.owner !== first);
    if (foreign.length === 0) return false;
    const shown = (owner === undefined ? targets : foreign).map(
      (target) => `${target.shown} of ${named(target.owner)}`,
    );
    const self = owner === undefined ? '' : `, of ${named(owner)}`;
    violations.push({
      layer: 'catalog',
      where: `${where}${self}`,
      what: `touches ${[...new Set(shown)].join(', ')}`,
      fix,
    });
    return true;
  };
  const target = (relation: Relation): { readonly owner: string; readonly shown: string } => ({
    owner: ownerOf(relation),
    shown: `${relation.schema}.${relation.name}`,
  });
  const visible = ({ schema }: Relation): boolean => !/^(pg_|information_schema$)/.test(schema);

  const keys = await database.query<ForeignKeyRow>(foreignKeys);
  for (const key of keys) {
    judge(
      `foreign key ${key.schema}.${key.table}.${key.name}`,
      ownerOf({ schema: key.schema, name: key.table }),
      [target({ schema: key.targetSchema, name: key.targetTable })],
      'keep the id without the constraint',
    );
  }

  const viewRows = await database.query<ViewRow>(views);
  for (const view of viewRows) {
    judge(
      `${view.materialized ? 'materialized view' : 'view'} ${view.schema}.${view.name}`,
      owners.table(view.schema, view.name),
      view.targets.filter(visible).map(target),
      'read each module by its queries, or keep a table of your own by events',
    );
  }

  const parser = await loadSqlParser();
  const functionRows = await database.query<FunctionRow>(functions);
  const uses = new Map<string, FunctionUse>();
  const targetsOf = (use: FunctionUse): { readonly owner: string; readonly shown: string }[] => [
    ...use.relations.filter(visible).map(target),
    ...use.calls.flatMap(({ schema, name }) => {
      const owner = owners.schema(schema);
      return owner === undefined ? [] : [{ owner, shown: `${schema}.${name}()` }];
    }),
  ];
  const flagged = new Set<string>();
  for (const row of functionRows) {
    const name = `${row.schema}.${row.name}`;
    let use: FunctionUse;
    try {
      use = functionUse(parser, row, (schema, relation) => known.has(`${schema}.${relation}`));
    } catch (error) {
      violations.push({
        layer: 'catalog',
        where: `function ${name}`,
        what: `cannot be read, ${error instanceof Error ? error.message : String(error)}`,
        fix: 'write it in the SQL of PostgreSQL 18',
      });
      continue;
    }
    // Overloads of one name are taken together.
    const before = uses.get(name) ?? { relations: [], calls: [] };
    uses.set(name, {
      relations: [...before.relations, ...use.relations],
      calls: [...before.calls, ...use.calls],
    });
    const crosses = judge(
      `function ${name}`,
      owners.schema(row.schema),
      targetsOf(use),
      'let the module that owns the table do this in a command or a subscription',
    );
    if (crosses) flagged.add(name);
  }

  const triggerRows = await database.query<TriggerRow>(triggers);
  for (const trigger of triggerRows) {
    const name = `${trigger.functionSchema}.${trigger.functionName}`;
    const functionOwner = owners.schema(trigger.functionSchema);
    const reached = targetsOf(uses.get(name) ?? { relations: [], calls: [] });
    judge(
      `trigger ${trigger.name} on ${trigger.schema}.${trigger.table}`,
      ownerOf({ schema: trigger.schema, name: trigger.table }),
      [
        ...(functionOwner === undefined ? [] : [{ owner: functionOwner, shown: `${name}()` }]),
        // A function that crosses by itself is told once.
        ...(flagged.has(name) ? [] : reached),
      ],
      'write in the command, or react to an event',
    );
  }
  return {
    violations,
    objects: keys.length + viewRows.length + functionRows.length + triggerRows.length,
  };

  function named(owner: string): string {
    if (owner === nobody) return nobody;
    return owner === runtimeSchema ? 'the runtime' : `module ${owner}`;
  }
}
