import type pg from 'pg';
import { queryable, runStatement, type RunStatement } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import { PlimsollError } from '../kernel/errors.ts';

export interface FromClientOptions {
  /** Whose telemetry this is. Default the client itself. */
  readonly scope?: object;
}

/**
 * Your own open transaction as ours, to write events and jobs that exist exactly when it commits. It never
 * begins, commits or rolls back: that stays yours. PL_NO_TRANSACTION when the client has none open, because
 * each statement would commit by itself.
 */
export function fromClient(client: pg.ClientBase, options: FromClientOptions = {}): Transaction {
  const from = { server: 'primary', scope: options.scope ?? client, cancels: false };
  // `pg` no longer queues statements for one client, so ours wait for each other.
  let last: Promise<unknown> = Promise.resolve();

  const run: RunStatement = (statement, pick) => {
    const turn = last.then(() => {
      assertInTransaction(client);
      return runStatement(client, statement, from, pick);
    });
    last = turn.catch(() => undefined);
    return turn;
  };
  return { ...queryable(run), begun: true };
}

/** `I` is idle: connected, and no transaction. */
function assertInTransaction(client: Partial<pg.ClientBase>): void {
  // A pool has no such state, because each of its statements may run elsewhere.
  if ('totalCount' in client || client.getTransactionStatus?.() === 'I') {
    throw new PlimsollError(
      'PL_NO_TRANSACTION',
      'fromClient needs a client with an open transaction: check one out with pool.connect() and run BEGIN first',
    );
  }
}
