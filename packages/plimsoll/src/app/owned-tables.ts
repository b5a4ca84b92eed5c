import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import type { Module } from '../modules/module.ts';

/**
 * Throws PL_CONFIG with every table of `owns.tables` that the migrated database does not have: a misspelt one
 * would leave the real one to nobody, and each statement on it refused.
 */
export async function assertOwnedTables(
  database: Database,
  modules: readonly Pick<Module, 'name' | 'tables'>[],
): Promise<void> {
  const listed = modules.flatMap(({ name, tables }) =>
    tables.map((table, index) => ({ path: `modules.${name}.owns.tables.${index}`, table })),
  );
  if (listed.length === 0) return;
  const tables = listed.map(({ table }) => table);
  const rows = await database.query<{ name: string }>(sql`
    select n.nspname || '.' || c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname || '.' || c.relname = any(${tables})`);
  const existing = new Set(rows.map(({ name }) => name));
  throwIfProblems(
    'the plan',
    listed
      .filter(({ table }) => !existing.has(table))
      .map(({ path, table }) => ({
        path,
        message: `the database has no table ${table} after its migrations; name tables as PostgreSQL stores them`,
      })),
  );
}
