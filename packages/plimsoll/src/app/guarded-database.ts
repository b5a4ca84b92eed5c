import { grantRoles } from '../boundaries/grant-roles.ts';
import { createStatementGuard } from '../boundaries/guard.ts';
import { guardDatabase } from '../boundaries/guard-database.ts';
import { roleDatabase } from '../boundaries/role-database.ts';
import { loadSqlParser } from '../boundaries/sql-parser.ts';
import type { Database } from '../database/database.ts';
import type { InvalidationCheck } from '../modules/invalidation-check.ts';
import { createViewUse } from '../modules/view-use.ts';
import type { Plan } from './plan.ts';

/**
 * The migrated database as the plan lets handlers see it; makes their roles where the plan asks for them. `check` is
 * told which tables they touch.
 */
export async function guardedDatabase(
  plan: Plan,
  database: Database,
  check: InvalidationCheck | undefined,
): Promise<Database> {
  const { statements = process.env['NODE_ENV'] === 'production' ? 'report' : 'refuse', roles = false } =
    plan.boundaries ?? {};
  const confined = roles ? roleDatabase(database, await grantRoles(database, plan.modules)) : database;
  if (statements === 'off' && check === undefined) return confined;
  const hasViews = statements !== 'off' && plan.modules.some(({ views }) => views.length > 0);
  const use = hasViews ? createViewUse(plan.modules, database.scope, statements === 'refuse') : undefined;
  const guard = createStatementGuard({
    modules: plan.modules,
    parser: await loadSqlParser(),
    scope: database.scope,
    foreign: statements,
    ...(check === undefined && use === undefined
      ? {}
      : {
          onTables(context, tables) {
            use?.(context, tables);
            check?.touched(context, tables);
          },
        }),
    roles,
  });
  return guardDatabase(confined, guard);
}
