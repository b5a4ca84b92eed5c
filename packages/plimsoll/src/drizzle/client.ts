import type { NodePgClient } from 'drizzle-orm/node-postgres';
import type pg from 'pg';
import { parameterizedSql, type DriverOptions } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';

/** What Drizzle's node-postgres session gives to `client.query`. */
interface DrizzleQuery extends Pick<DriverOptions, 'rowMode' | 'types'> {
  readonly text: string;
}

/**
 * The one method that Drizzle's node-postgres session calls outside `transaction()`. Drizzle maps columns by
 * place and reads dates as text, so its row mode and its parsers go along with each statement.
 */
export function clientOn(on: Pick<Queryable, 'query'>): NodePgClient {
  const query = async (
    { text, rowMode, types }: DrizzleQuery,
    values: readonly unknown[],
  ): Promise<pg.QueryResult> => {
    const answer = Promise.withResolvers<pg.QueryResult>();
    await on.query(
      parameterizedSql(text, values, {
        ...(rowMode === undefined ? {} : { rowMode }),
        ...(types === undefined ? {} : { types }),
        onResult: answer.resolve,
      }),
    );
    return answer.promise;
  };
  return { query } as unknown as NodePgClient;
}
