import type { Module } from '../modules/module.ts';

export const runtimeSchema = 'plimsoll';

export type Owned = Pick<Module, 'name' | 'schema' | 'ownsTable'>;

/** Who owns what in the database; `plimsoll` stands for the runtime, `undefined` for nobody. */
export interface Owners {
  table(schema: string, table: string): string | undefined;
  schema(schema: string): string | undefined;
}

export function ownersOf(modules: readonly Owned[]): Owners {
  return {
    table: (schema, table) =>
      schema === runtimeSchema
        ? runtimeSchema
        : modules.find((module) => module.ownsTable(schema, table))?.name,
    schema: (schema) =>
      schema === runtimeSchema ? runtimeSchema : modules.find((module) => module.schema === schema)?.name,
  };
}
