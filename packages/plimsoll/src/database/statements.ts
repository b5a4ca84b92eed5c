import type pg from 'pg';
import { queries } from '../kernel/channels.ts';
import { assertAlive, currentContext } from '../kernel/context.ts';
import { systemClock } from '../kernel/clock.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { untilContextEnds } from './cancel.ts';
import type { ContextWatch } from './context-watch.ts';
import { translateFailure } from './failures.ts';
import type { DriverOptions, Sql } from './sql.ts';

export type Row = Record<string, unknown>;

/** The four ways to run a statement. The row type is the caller's claim; the database does not check it. */
export interface Queryable {
  readonly query: <R extends object = Row>(statement: Sql) => Promise<R[]>;
  /** Exactly one row, else PL_ROW_COUNT. */
  readonly one: <R extends object = Row>(statement: Sql) => Promise<R>;
  /** The first row or nothing; more than one is PL_ROW_COUNT. */
  readonly maybeOne: <R extends object = Row>(statement: Sql) => Promise<R | undefined>;
  /** Rows affected. */
  readonly execute: (statement: Sql) => Promise<number>;
}

export interface StatementResult {
  readonly rows: Row[];
  readonly affected: number;
}

/** Derives the four ways from one function that runs a statement. */
export function queryable(run: (statement: Sql) => Promise<StatementResult>): Queryable {
  const atMostOne = async (statement: Sql, wanted: string): Promise<Row | undefined> => {
    const { rows } = await run(statement);
    if (rows.length > 1) throw wrongCount(statement, wanted, rows.length);
    return rows[0];
  };
  return {
    query: async <R extends object>(statement: Sql) => (await run(statement)).rows as R[],
    maybeOne: async <R extends object>(statement: Sql) =>
      (await atMostOne(statement, 'at most one row')) as R | undefined,
    async one<R extends object>(statement: Sql) {
      const row = await atMostOne(statement, 'exactly one row');
      if (row === undefined) throw wrongCount(statement, 'exactly one row', 0);
      return row as R;
    },
    execute: async (statement) => (await run(statement)).affected,
  };
}

function wrongCount(statement: Sql, wanted: string, got: number): PlimsollError {
  const { text } = statement.compile();
  return new PlimsollError(
    'PL_ROW_COUNT',
    `expected ${wanted} but got ${got} from: ${text.trim().slice(0, 200)}`,
    { data: { rows: got } },
  );
}

function queryConfig(text: string, { rowMode, types }: DriverOptions): pg.QueryConfig {
  return {
    text,
    ...(rowMode === undefined ? {} : { rowMode }),
    ...(types === undefined ? {} : { types }),
  };
}

/** Where statements run and who is told of them. */
export interface StatementTarget {
  readonly server: string;
  readonly scope: object;
  /** With it, a statement is cancelled when its context ends. */
  readonly contextWatch?: ContextWatch;
}

/** Runs one statement on a client, timed and with failures translated. */
export async function runStatement(
  client: pg.ClientBase,
  statement: Sql,
  from: StatementTarget,
): Promise<StatementResult> {
  const { text, values, driver } = statement.compile();
  const context = currentContext();
  if (context !== undefined) assertAlive(context, 'statement');
  const startedMs = systemClock.monotonicMs();
  let failure: unknown;
  let rows: Row[] = [];
  try {
    const running: Promise<pg.QueryResult<Row> | pg.QueryResult<Row>[]> = client.query<Row>(
      driver === undefined ? text : queryConfig(text, driver),
      values as unknown[],
    );
    const { server, contextWatch } = from;
    const answer = await (context === undefined || contextWatch === undefined
      ? running
      : untilContextEnds(running, client, context, { server, contextWatch }));
    // A migration file holds many statements, and `pg` then answers with a list.
    const result = Array.isArray(answer) ? answer.at(-1) : answer;
    rows = result?.rows ?? [];
    if (result !== undefined) driver?.onResult?.(result);
    return { rows, affected: result?.rowCount ?? 0 };
  } catch (error) {
    failure = translateFailure(error, from.server);
    throw failure;
  } finally {
    if (queries.hasSubscribers) {
      queries.publish({
        scope: from.scope,
        server: from.server,
        text,
        durationMs: systemClock.monotonicMs() - startedMs,
        rows: rows.length,
        operation: context?.path.at(-1),
        ...(failure === undefined ? {} : { error: failure }),
      });
    }
  }
}
