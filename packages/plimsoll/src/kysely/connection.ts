import type { CompiledQuery, DatabaseConnection, QueryResult } from 'kysely';
import type { QueryResult as Answer } from 'pg';
import { parameterizedSql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { PlimsollError } from '../kernel/errors.ts';

const writes = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE']);

/** Runs a compiled query on `on`; its parameters stay parameters. */
export async function runCompiled<R>(
  on: Pick<Queryable, 'query'>,
  query: CompiledQuery,
): Promise<QueryResult<R>> {
  let answer: Answer | undefined;
  const onResult = (result: Answer): void => {
    answer = result;
  };
  const rows = await on.query<object>(parameterizedSql(query.sql, query.parameters, { onResult }));
  const affected = answer !== undefined && writes.has(answer.command) ? answer.rowCount : null;
  return {
    rows: rows as R[],
    ...(affected === null ? {} : { numAffectedRows: BigInt(affected) }),
  };
}

export function unsupported(what: string, instead: string): PlimsollError {
  return new PlimsollError('PL_UNSUPPORTED', `plimsoll/kysely: ${what}; ${instead}`);
}

/** What streaming answers, everywhere. */
export function refuseStream(): never {
  throw unsupported('stream() is not possible', 'read pages by key with limit, or use execute()');
}

/** A connection of a transaction that is under way: every query goes through it. */
export function connectionOn(on: Pick<Queryable, 'query'>): DatabaseConnection {
  return { executeQuery: (query) => runCompiled(on, query), streamQuery: refuseStream };
}
