import { createStatementGuard } from '../boundaries/guard.ts';
import { guardDatabase } from '../boundaries/guard-database.ts';
import { loadSqlParser } from '../boundaries/sql-parser.ts';
import type { Database } from '../database/database.ts';
import type { Plan } from './plan.ts';

/** The database as the plan lets handlers see it. */
export async function guardedDatabase(plan: Plan, database: Database): Promise<Database> {
  const { statements = process.env['NODE_ENV'] === 'production' ? 'report' : 'refuse' } =
    plan.boundaries ?? {};
  if (statements === 'off') return database;
  const check = createStatementGuard({
    modules: plan.modules,
    parser: await loadSqlParser(),
    scope: database.scope,
    refuse: statements === 'refuse',
  });
  return guardDatabase(database, check);
}
