import { isConnectionFailure } from '../database/failures.ts';
import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { isPlimsollError, type ErrorCode } from '../kernel/errors.ts';

const ofTheDatabase: ReadonlySet<string> = new Set<ErrorCode>([
  'PL_DATABASE_UNAVAILABLE',
  'PL_POOL_TIMEOUT',
  'PL_BREAKER_OPEN',
  'PL_COMMIT_UNKNOWN',
]);

/** Whether it is the database that failed, and not what was done with it. */
export function isOfDatabase(error: unknown): boolean {
  return isPlimsollError(error) ? ofTheDatabase.has(error.code) : isConnectionFailure(error);
}

/** Whether fewer events at once may help: one of them cannot be applied, or all of them take too long. */
export function isOfBatch(error: unknown): boolean {
  return !isOfDatabase(error) && !isPlimsollError(error, 'PL_VIEW_HISTORY');
}

/** Notes why a table does not advance from `position`; nothing where somebody, who could, has moved it since. */
export async function noteFailure(
  database: Pick<Queryable, 'execute'>,
  schema: string,
  table: string,
  position: number,
  error: unknown,
): Promise<void> {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && 'code' in error ? { code: String(error.code) } : {};
  const failure = sql.json({ message, ...code, position, at: new Date().toISOString() });
  await database.execute(sql`
    update plimsoll.view_table set failure = ${failure}
    where schema_name = ${schema} and table_name = ${table} and position = ${position}`);
}
