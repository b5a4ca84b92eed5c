import type { Database } from '../database/database.ts';
import { sqlState } from '../database/failures.ts';
import { sql, trustedSql } from '../database/sql.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { roleDifference, type OwnedModule, type RoleDifference } from './role-grants.ts';

/**
 * Makes one role per module, which may use what the module owns and nothing else, and takes back what it may do
 * beyond. Returns the roles by module. To be run after every migration; changes nothing, and so needs no
 * privilege but to set the roles, when all is as it should be. Safe from many processes at once.
 * PL_CONFIG with the statements to run when the user of the connection may not.
 */
export function grantRoles(
  database: Database,
  modules: readonly OwnedModule[],
): Promise<ReadonlyMap<string, string>> {
  return database.transaction(async (tx) => {
    await tx.execute(sql`set local search_path to pg_catalog`);
    const seen = await roleDifference(tx, modules);
    if (seen.statements.length === 0) return seen.roles;

    // The lock of `migrate`: nobody makes tables or roles meanwhile, and whoever waited finds nothing to do.
    await tx.execute(sql`set local statement_timeout = 0`);
    await tx.query(sql`select pg_advisory_xact_lock(hashtextextended('plimsoll.migration', 0))`);
    const wanted = await roleDifference(tx, modules);
    try {
      if (wanted.statements.length > 0) await tx.execute(trustedSql(wanted.statements.join(';\n')));
    } catch (error) {
      if (sqlState(error) !== '42501') throw error;
      throw refused(wanted, error instanceof Error ? error.message : String(error), error);
    }
    // A grant by somebody who may not give it is a warning only.
    const left = await roleDifference(tx, modules);
    if (left.statements.length > 0) throw refused(wanted, 'PostgreSQL granted or revoked only a part');
    return wanted.roles;
  });
}

function refused({ at, roles, statements }: RoleDifference, reason: string, cause?: unknown): PlimsollError {
  const login = JSON.stringify(at.login);
  const checks = [...roles.values()].map((role) => `set local role ${sql.id(role).compile().text};`);
  return new PlimsollError(
    'PL_CONFIG',
    [
      `boundaries.roles: the user ${login} cannot make the roles of the modules match what they own in the database ${JSON.stringify(at.database)}: ${reason}.`,
      'Let a superuser run this in that database, or the owner of the tables if it has CREATEROLE; then start again:',
      '',
      ...statements.map((statement) => `  ${statement};`),
      '',
      `To check, as ${login}; it must run without an error:`,
      '',
      `  begin; ${checks.join(' ')} rollback;`,
    ].join('\n'),
    { cause, data: { user: at.login, database: at.database, statements } },
  );
}
