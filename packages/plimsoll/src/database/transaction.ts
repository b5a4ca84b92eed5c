import type pg from 'pg';
import { currentContext, endOf } from '../kernel/context.ts';
import { contextWatch } from '../kernel/context-watch.ts';
import { isPlimsollError, PlimsollError } from '../kernel/errors.ts';
import { isConnectionFailure, translateFailure, wasNeverSent } from './failures.ts';
import type { Seen } from '../kernel/seen.ts';
import type { Causality } from './routing/causality.ts';
import { commitNoting } from './routing/commit.ts';
import { sendAgain, sendFlight } from './routing/flight.ts';
import type { Pool } from './pool.ts';
import { trustedSql, type Sql } from './sql.ts';
import {
  affectedBy,
  queryable,
  runStatement,
  sendAlone,
  type Answer,
  type Queryable,
  type Row,
  type Send,
  type StatementResult,
} from './statements.ts';

export interface Transaction extends Queryable {
  /** False until the first statement: a lazily begun transaction holds no connection before. */
  readonly begun: boolean;
}

export interface TransactionOptions {
  /**
   * What must hold in the transaction, such as `set local role`: one statement without values, sent in one message
   * with BEGIN. Asked for when the first statement is sent. Default nothing.
   */
  readonly holds?: () => Sql | undefined;
  /** Asked before everything else, in one message with BEGIN. Default nothing. */
  readonly opening?: Opening;
  /** Gets the text of each statement of the function before it is sent; what it throws is the statement's failure. */
  readonly check?: (text: string) => void;
  /** What the client has seen; the commit's position is noted in it. Default that of the context. */
  readonly seen?: Seen;
  /**
   * Whether the position is left to be taken when somebody needs it, for work that nobody reads after: with the COMMIT it
   * costs as much as a small statement. Asked just before. Default no.
   */
  readonly positionDue?: () => boolean;
  /** Runs after the function and before COMMIT, on the same transaction; a throw rolls back. */
  readonly beforeCommit?: (tx: Transaction) => Promise<void>;
}

/** A question that decides whether a transaction may do anything. */
export interface Opening {
  /** Of one row; with values. */
  readonly question: Sql;
  /** What each statement of the transaction fails with, and its COMMIT too; undefined lets it go on. */
  readonly refusal: (row: Row | undefined) => Error | undefined;
}

/** What holds for all transactions of a database. */
export interface TransactionSetting {
  /** Notes the position of each commit in the token of its client. */
  readonly causality?: Causality | undefined;
  /** Sent with BEGIN, where sessions cannot keep settings: each one statement. */
  readonly settings?: readonly string[] | undefined;
}

const commitStatement = trustedSql('commit');
const rollbackStatement = trustedSql('rollback');

/** Sends the question between BEGIN and what holds, and answers with its result. */
const withBegin =
  (holds: readonly string[]): Send =>
  async (client, { text, values }) => {
    const flight = { text, values: [...values], before: ['begin'], after: holds };
    const results = await sendFlight(client, flight);
    return results[1] as Answer;
  };

/**
 * Runs `fn` in one transaction that begins with its first statement. Commits when `fn` resolves, rolls back
 * when it rejects. A COMMIT that PostgreSQL answers with ROLLBACK (an earlier statement failed and the
 * failure was swallowed) is an error; a connection lost during COMMIT is PL_COMMIT_UNKNOWN.
 */
export async function runTransaction<T>(
  pool: Pool,
  scope: object,
  fn: (tx: Transaction) => Promise<T>,
  options: TransactionOptions = {},
  { causality, settings = [] }: TransactionSetting = {},
): Promise<T> {
  const from = { server: pool.server, scope, cancels: true, prepares: pool.prepares };
  const context = currentContext();
  /** Asked when something was sent: who wrote and read nothing has seen nothing. */
  const seenHere = (): Seen | undefined =>
    causality === undefined ? undefined : (options.seen ?? context?.seen);
  // Set by the first statement, once; concurrent first statements share it.
  let beginning: Promise<pg.PoolClient> | undefined;
  // Statements run one after the other on the one connection; `pg` no longer queues them for us.
  let last: Promise<unknown> = Promise.resolve();
  let ended = false;
  // From then on only the server knows how it ends.
  let inCommit = false;
  // Set when the transaction begins, by its opening.
  let refusal: Error | undefined;
  // The text of the statement before, where it had values: the server keeps it parsed until the next one.
  let parsed: string | undefined;

  async function begin(): Promise<pg.PoolClient> {
    const held = options.holds?.();
    const holds = [...(held === undefined ? [] : [held.compile().text]), ...settings];
    const client = await pool.acquire();
    const ended = context === undefined ? undefined : endOf(context, 'begin');
    if (ended !== undefined) {
      // Nothing was sent; the connection is as good as before.
      client.release();
      throw ended;
    }
    try {
      if (options.opening === undefined)
        await runStatement(client, trustedSql(['begin', ...holds].join('; ')), from, affectedBy);
      else refusal = await open(client, options.opening, holds);
      return client;
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  /** The question comes before what holds: a role need not be allowed to ask it. */
  function open(
    client: pg.PoolClient,
    opening: Opening,
    holds: readonly string[],
  ): Promise<Error | undefined> {
    return runStatement(
      client,
      opening.question,
      from,
      ({ rows }) => opening.refusal(rows[0]),
      withBegin(holds),
    );
  }

  async function inTurn<T>(
    before: Promise<unknown>,
    begun: Promise<pg.PoolClient>,
    statement: Sql,
    pick: (result: StatementResult, statement: Sql) => T,
  ): Promise<T> {
    await before;
    const client = await begun;
    if (refusal !== undefined) throw refusal;
    return await runStatement(client, statement, from, pick, send);
  }

  /** Loops over one statement, and jobs that share a transaction, have it parsed and planned once. */
  const send: Send = async (client, compiled) => {
    const { text, values, driver, name } = compiled;
    const keeps = values.length > 0 && driver === undefined && name === undefined;
    const again = keeps && text === parsed;
    parsed = undefined;
    const answer = await (again ? sendAgain<Row>(client, text, values) : sendAlone(client, compiled));
    if (keeps) parsed = text;
    return answer;
  };

  function transactionOf(check?: (text: string) => void): Transaction {
    // Async, so that a refusal is a rejection like every other failure of a statement.
    const { query, one, maybeOne, execute } = queryable(async (statement, pick) => {
      if (ended) {
        throw new PlimsollError(
          'PL_TRANSACTION_ENDED',
          'the transaction has ended; await every statement inside the function that was given the transaction',
        );
      }
      check?.(statement.compile().text);
      const turn = inTurn(last, (beginning ??= begin()), statement, pick);
      last = turn.catch(() => undefined);
      return await turn;
    });
    // A literal: an object that gets its accessor later costs several times as much.
    return {
      query,
      one,
      maybeOne,
      execute,
      get begun() {
        return beginning !== undefined;
      },
    };
  }

  try {
    const result = await fn(transactionOf(options.check));
    await options.beforeCommit?.(transactionOf());
    ended = true;
    await last;
    if (refusal !== undefined) throw refusal;
    inCommit = true;
    if (beginning !== undefined) await commit(await beginning);
    return result;
  } catch (error) {
    ended = true;
    await last;
    if (beginning !== undefined) {
      if (!inCommit) await rollback(beginning);
      const seen = seenHere();
      // Nothing was written; but what was read there was shown.
      if (seen !== undefined) causality?.markRead(seen);
    }
    throw error;
  }

  async function commit(client: pg.PoolClient): Promise<void> {
    const seen = seenHere();
    const end = causality === undefined ? undefined : seen?.beginWrite(causality.name);
    let tag: string;
    try {
      tag = await untilKnown(sendCommit(client, seen));
      end?.();
    } catch (error) {
      const lost = isConnectionFailure(error);
      const unknown = isPlimsollError(error, 'PL_COMMIT_UNKNOWN') || (lost && !wasNeverSent(error));
      if (unknown && seen !== undefined) causality?.noteUnknown(seen);
      end?.();
      client.release(lost || isPlimsollError(error, 'PL_COMMIT_UNKNOWN'));
      if (lost && !wasNeverSent(error)) {
        throw new PlimsollError(
          'PL_COMMIT_UNKNOWN',
          `${pool.server}: the connection broke during COMMIT; the outcome is unknown, look for the effect before trying again`,
          { cause: error },
        );
      }
      throw translateFailure(error, pool.server);
    }
    client.release();
    if (tag !== 'COMMIT') {
      throw new PlimsollError(
        'PL_TRANSACTION_ABORTED',
        `${pool.server}: COMMIT was answered with ${tag}: an earlier statement of the transaction failed and its error was not thrown on`,
      );
    }
  }

  async function sendCommit(client: pg.PoolClient, seen: Seen | undefined): Promise<string> {
    const isDue = options.positionDue?.() === true;
    if (causality !== undefined && seen !== undefined && !isDue)
      return await commitNoting(client, causality, seen);
    const { command } = await client.query(commitStatement.compile().text);
    if (command === 'COMMIT' && seen !== undefined) causality?.markDue(seen);
    return command;
  }

  /**
   * A COMMIT is not cancelled: the server may be past the point where that means anything. Whoever cannot
   * wait for its answer is told that the outcome is unknown.
   */
  function untilKnown<R>(committing: Promise<R>): Promise<R> {
    if (context === undefined) return committing;
    const { promise: gone, reject } = Promise.withResolvers<never>();
    const unwatch = contextWatch.watch(context, () => {
      reject(
        new PlimsollError(
          'PL_COMMIT_UNKNOWN',
          `${pool.server}: the request ended during COMMIT; the outcome is unknown, look for the effect before trying again`,
          { cause: endOf(context, 'COMMIT') },
        ),
      );
    });
    return unwatch === undefined ? committing : Promise.race([committing, gone]).finally(unwatch);
  }

  async function rollback(begun: Promise<pg.PoolClient>): Promise<void> {
    const client = await begun.catch(() => undefined);
    if (client === undefined) return;
    try {
      await client.query(rollbackStatement.compile().text);
      client.release();
    } catch {
      // A connection that cannot roll back is thrown away; the server rolls back when it goes.
      client.release(true);
    }
  }
}
