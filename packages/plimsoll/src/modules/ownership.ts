import type { Problem } from '../kernel/errors.ts';

/**
 * What a module owns: a whole Postgres schema, or, in a database that was there before it, some tables.
 * Never both: a table outside the module's schema would be one that nobody expects there.
 */
export type Owns =
  | {
      /** The Postgres schema whose tables only this module touches. */
      readonly schema: string;
      readonly tables?: never;
      /** Directory of `001_name.sql`, … Default: the module has no migrations. */
      readonly migrations?: URL;
    }
  | {
      readonly schema?: never;
      /** `schema.table`, named as PostgreSQL stores them: `public.orders`. Only this module touches them. */
      readonly tables: readonly string[];
      /** Directory of `001_name.sql`, … Default: the module has no migrations. */
      readonly migrations?: URL;
    };

const runtimeSchema = 'plimsoll';

/** What is wrong with one module's `owns`, looked at alone. */
export function ownsProblems(module: string, owns: Owns): Problem[] {
  const path = `modules.${module}.owns`;
  const given: { readonly schema?: unknown; readonly tables?: unknown } = owns;
  if ((given.schema === undefined) === (given.tables === undefined))
    return [{ path, message: 'give either schema or tables, and not both' }];
  if (owns.tables === undefined) {
    if (owns.schema === runtimeSchema)
      return [{ path: `${path}.schema`, message: '"plimsoll" is the schema of the runtime' }];
    return owns.schema === '' ? [{ path: `${path}.schema`, message: 'must not be empty' }] : [];
  }
  if (owns.tables.length === 0) return [{ path: `${path}.tables`, message: 'must name at least one table' }];
  const problems: Problem[] = [];
  for (const [index, table] of owns.tables.entries()) {
    const at = `${path}.tables.${index}`;
    const [schema, name, ...rest] = table.split('.');
    if (schema === '' || name === undefined || name === '' || rest.length > 0)
      problems.push({
        path: at,
        message: `${JSON.stringify(table)} must be schema.table, such as "public.orders"`,
      });
    else if (schema === runtimeSchema)
      problems.push({ path: at, message: `${table} is in the schema of the runtime` });
    else if (owns.tables.indexOf(table) !== index)
      problems.push({ path: at, message: `${table} is listed twice` });
  }
  return problems;
}

interface Owner {
  readonly name: string;
  readonly schema: string | undefined;
  readonly tables: readonly string[];
}

/** Modules that claim the same schema or the same table, or a table inside the schema of another. */
export function overlapProblems(modules: readonly Owner[]): Problem[] {
  const problems: Problem[] = [];
  const schemas = new Map<string, string>();
  for (const { name, schema } of modules) {
    if (schema === undefined) continue;
    const owner = schemas.get(schema);
    if (owner !== undefined && owner !== name)
      problems.push({
        path: `modules.${name}.owns.schema`,
        message: `${JSON.stringify(schema)} is owned by ${owner}`,
      });
    schemas.set(schema, name);
  }
  const tables = new Map<string, string>();
  for (const module of modules) {
    for (const [index, table] of module.tables.entries()) {
      const path = `modules.${module.name}.owns.tables.${index}`;
      const schemaOwner = schemas.get(schemaOf(table));
      const tableOwner = tables.get(table);
      if (schemaOwner !== undefined)
        problems.push({ path, message: `${table} is in the schema that ${schemaOwner} owns` });
      else if (tableOwner !== undefined && tableOwner !== module.name)
        problems.push({ path, message: `${table} is owned by ${tableOwner}` });
      tables.set(table, module.name);
    }
  }
  return problems;
}

/** Answers whether a table, named as PostgreSQL stores it, is one of the owned. */
export function tableOwnership(owns: Owns): (schema: string, table: string) => boolean {
  if (owns.tables === undefined) return (schema) => schema === owns.schema;
  const owned = new Set(owns.tables);
  return (schema, table) => owned.has(`${schema}.${table}`);
}

/** Of `schema.table`. */
export function schemaOf(table: string): string {
  return table.slice(0, table.indexOf('.'));
}
