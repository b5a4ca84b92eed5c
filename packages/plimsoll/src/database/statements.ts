import type pg from 'pg';
import { queries, type RouteReason } from '../kernel/channels.ts';
import { assertAlive, currentContext, endOf } from '../kernel/context.ts';
import { contextWatch } from '../kernel/context-watch.ts';
import { systemClock } from '../kernel/clock.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { cancelRunning } from './cancel.ts';
import { isConnectionFailure, sqlState, translateFailure } from './failures.ts';
import type { CompiledSql, DriverOptions, Sql } from './sql.ts';

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

/** Runs a statement and answers what `pick` makes of its result. */
export type RunStatement = <T>(
  statement: Sql,
  pick: (result: StatementResult, statement: Sql) => T,
) => Promise<T>;

/** Derives the four ways from one function that runs a statement. */
export function queryable(run: RunStatement): Queryable {
  return {
    query: <R extends object>(statement: Sql) => run(statement, rowsOf) as Promise<R[]>,
    one: <R extends object>(statement: Sql) => run(statement, exactlyOne) as Promise<R>,
    maybeOne: <R extends object>(statement: Sql) => run(statement, atMostOne) as Promise<R | undefined>,
    execute: (statement) => run(statement, affectedBy),
  };
}

const rowsOf = ({ rows }: StatementResult): Row[] => rows;
export const affectedBy = ({ affected }: StatementResult): number => affected;

function atMostOne({ rows }: StatementResult, statement: Sql): Row | undefined {
  if (rows.length > 1) throw wrongCount(statement, 'at most one row', rows.length);
  return rows[0];
}

function exactlyOne({ rows }: StatementResult, statement: Sql): Row {
  const [row] = rows;
  if (row === undefined || rows.length > 1) throw wrongCount(statement, 'exactly one row', rows.length);
  return row;
}

function wrongCount(statement: Sql, wanted: string, got: number): PlimsollError {
  const { text } = statement.compile();
  return new PlimsollError(
    'PL_ROW_COUNT',
    `expected ${wanted} but got ${got} from: ${text.trim().slice(0, 200)}`,
    { data: { rows: got } },
  );
}

export type Answer = pg.QueryResult<Row> | pg.QueryResult<Row>[];

/** Sends one statement on a client. */
export type Send = (client: pg.ClientBase, statement: CompiledSql) => Promise<Answer>;

export const sendAlone: Send = (client, { text, values, driver, name }) =>
  client.query<Row>(
    name !== undefined ? { name, text } : driver === undefined ? text : queryConfig(text, driver),
    values as unknown[],
  );

export function queryConfig(text: string, { rowMode, types }: DriverOptions = {}): pg.QueryConfig {
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
  /** Whether a statement is cancelled when its context ends. Without, it runs on, and what comes after it is refused. */
  readonly cancels: boolean;
  /** Whether the connection keeps statements that are prepared. Default false. */
  readonly prepares?: boolean | undefined;
  /** Why it is this server. */
  readonly route?: RouteReason | undefined;
}

/**
 * Runs one statement on a client, timed and with failures translated. When its context ends before it does, it is
 * cancelled on the server, and the context's end is what is thrown.
 */
export async function runStatement<T>(
  client: pg.ClientBase,
  statement: Sql,
  { server, scope, cancels, prepares = false, route }: StatementTarget,
  pick: (result: StatementResult, statement: Sql) => T,
  send: Send = sendAlone,
): Promise<T> {
  const compiled = statement.compile();
  const { text, driver, values } = compiled;
  const context = currentContext();
  if (context !== undefined) assertAlive(context, 'statement');
  const startedMs = systemClock.monotonicMs();
  let failure: unknown;
  let rows: Row[] = [];
  let affected = 0;
  let cancelling: Promise<void> | undefined;
  const running = send(client, compiled.name === undefined || prepares ? compiled : { text, values });
  const unwatch =
    context === undefined || !cancels
      ? undefined
      : contextWatch.watch(context, () => {
          cancelling = cancelRunning(client, running);
        });
  try {
    const answer = await running;
    // A migration file holds many statements, and `pg` then answers with a list.
    const result = Array.isArray(answer) ? answer.at(-1) : answer;
    rows = result?.rows ?? [];
    affected = result?.rowCount ?? 0;
    if (result !== undefined) driver?.onResult?.(result);
  } catch (error) {
    // A statement that failed for a reason of its own just before it was cancelled tells that reason.
    const cancelled = cancelling !== undefined && (sqlState(error) === '57014' || isConnectionFailure(error));
    const ended =
      cancelled && context !== undefined ? endOf(context, `statement on ${server}, cancelled`) : undefined;
    failure = ended ?? translateFailure(error, server);
    throw failure;
  } finally {
    unwatch?.();
    if (cancelling !== undefined) await cancelling;
    if (queries.hasSubscribers) {
      queries.publish({
        scope,
        server,
        text,
        durationMs: systemClock.monotonicMs() - startedMs,
        rows: rows.length,
        operation: context?.operation,
        route,
        error: failure,
      });
    }
  }
  return pick({ rows, affected }, statement);
}
