import type pg from 'pg';
import { isPlimsollError } from '../kernel/errors.ts';
import type { RouteReason } from '../kernel/channels.ts';
import type { Pool } from './pool.ts';
import type { Sql } from './sql.ts';
import {
  affectedBy,
  queryable,
  runStatement,
  type Queryable,
  type Send,
  type StatementResult,
} from './statements.ts';

export interface StatementWishes {
  /** Begins a transaction of its own for each statement. Default none. */
  readonly begin?: Sql | undefined;
  /** Gets the text of each statement before it is sent; what it throws is the statement's failure. */
  readonly check?: ((text: string) => void) | undefined;
}

/** Statements of a pool: each on a connection of its own for as long as it runs. */
export function statementsOn(pool: Pool, scope: object, wishes: StatementWishes = {}): Queryable {
  return queryable(async (statement, pick) => {
    wishes.check?.(statement.compile().text);
    return await runOnPool(pool, scope, statement, pick, wishes);
  });
}

/** What goes with one statement. */
export interface Sending {
  readonly begin?: Sql | undefined;
  /** Decides what travels with it. */
  readonly send?: Send | undefined;
  readonly route?: RouteReason | undefined;
}

/** One statement on a connection of the pool. */
export async function runOnPool<T>(
  pool: Pool,
  scope: object,
  statement: Sql,
  pick: (result: StatementResult, statement: Sql) => T,
  { begin, send, route }: Sending = {},
): Promise<T> {
  const target = { server: pool.server, scope, cancels: true, prepares: pool.prepares, route };
  const client = await pool.acquire();
  let broken = false;
  try {
    if (begin !== undefined) await runStatement(client, begin, target, affectedBy);
    return await runStatement(client, statement, target, pick, send);
  } catch (error) {
    broken = isPlimsollError(error, 'PL_DATABASE_UNAVAILABLE');
    throw error;
  } finally {
    // Nothing was written; what counts is that the connection goes back as it came.
    if (begin !== undefined && !broken) broken = await failsToEnd(client);
    client.release(broken);
  }
}

async function failsToEnd(client: pg.PoolClient): Promise<boolean> {
  try {
    await client.query('rollback');
    return false;
  } catch {
    return true;
  }
}
