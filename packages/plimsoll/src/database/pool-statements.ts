import type pg from 'pg';
import { isPlimsollError } from '../kernel/errors.ts';
import type { Pool } from './pool.ts';
import type { Sql } from './sql.ts';
import { affectedBy, queryable, runStatement, type Queryable } from './statements.ts';

/** Statements of a pool: each on a connection of its own for as long as it runs. */
export function statementsOn(
  pool: Pool,
  scope: object,
  { begin, check }: { readonly begin?: Sql; readonly check?: (text: string) => void } = {},
): Queryable {
  const target = { server: pool.server, scope, cancels: true };
  return queryable(async (statement, pick) => {
    check?.(statement.compile().text);
    const client = await pool.acquire();
    let broken = false;
    try {
      if (begin !== undefined) await runStatement(client, begin, target, affectedBy);
      return await runStatement(client, statement, target, pick);
    } catch (error) {
      broken = isPlimsollError(error, 'PL_DATABASE_UNAVAILABLE');
      throw error;
    } finally {
      // Nothing was written; what counts is that the connection goes back as it came.
      if (begin !== undefined && !broken) broken = await failsToEnd(client);
      client.release(broken);
    }
  });
}

async function failsToEnd(client: pg.PoolClient): Promise<boolean> {
  try {
    await client.query('rollback');
    return false;
  } catch {
    return true;
  }
}
