import { grantRoles } from '../boundaries/grant-roles.ts';
import { createStatementGuard } from '../boundaries/guard.ts';
import { guardDatabase } from '../boundaries/guard-database.ts';
import { roleDatabase } from '../boundaries/role-database.ts';
import { loadSqlParser } from '../boundaries/sql-parser.ts';
import type { Database } from '../database/database.ts';
import type { Plan } from './plan.ts';

/** The migrated database as the plan lets handlers see it; makes their roles where the plan asks for them. */
export async function guardedDatabase(plan: Plan, database: Database): Promise<Database> {
  const { statements = process.env['NODE_ENV'] === 'production' ? 'report' : 'refuse', roles = false } =
    plan.boundaries ?? {};
  const confined = roles ? roleDatabase(database, await grantRoles(database, plan.modules)) : database;
  if (statements === 'off') return confined;
  const check = createStatementGuard({
    modules: plan.modules,
    parser: await loadSqlParser(),
    scope: database.scope,
    refuse: statements === 'refuse',
    roles,
  });
  return guardDatabase(confined, check);
}
