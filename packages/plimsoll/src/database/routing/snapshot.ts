import type pg from 'pg';
import { PlimsollError, isPlimsollError } from '../../kernel/errors.ts';
import { translateFailure } from '../failures.ts';
import type { Pool } from '../pool.ts';
import type { Sql } from '../sql.ts';
import {
  queryable,
  runStatement,
  type Queryable,
  type RunStatement,
  type StatementResult,
} from '../statements.ts';
import { sendFlight } from './flight.ts';

/** Where a snapshot begins. */
export interface SnapshotPlace {
  readonly pool: Pool;
  /** Begins the transaction, in one message. */
  readonly begin: string;
  /** Asked in the same message, so that it takes the snapshot: what it tells is not older than that. */
  readonly sample: string;
  /** Rejects when the answer of the sample says that the place is not what it was chosen for. */
  readonly accept: (row: unknown) => Promise<void>;
}

/** Has the place chosen; until the first statement has answered, another one may be tried. */
export type ChoosePlace = <T>(run: (place: SnapshotPlace) => Promise<T>) => Promise<T>;

interface Opened {
  readonly client: pg.PoolClient;
  readonly server: string;
  readonly first: StatementResult;
}

const asIs = (result: StatementResult): StatementResult => result;

/**
 * Runs `fn` in one read-only transaction that sees one moment of one server. It begins with the first statement, which
 * may be tried on several servers; after rows were handed out a failure is the caller's to handle.
 */
export async function runSnapshot<T>(
  scope: object,
  choose: ChoosePlace,
  fn: (db: Queryable) => Promise<T>,
  check?: (text: string) => void,
): Promise<T> {
  // Set by the first statement, once.
  let opening: Promise<Opened> | undefined;
  // Statements run one after the other on the one connection.
  let last: Promise<unknown> = Promise.resolve();
  let ended = false;

  const run: RunStatement = async (statement, pick) => {
    if (ended) {
      throw new PlimsollError(
        'PL_TRANSACTION_ENDED',
        'the snapshot has ended; await every statement inside the function that was given it',
      );
    }
    check?.(statement.compile().text);
    const turn = inTurn(statement);
    last = turn.catch(() => undefined);
    return pick(await turn, statement);
  };

  async function inTurn(statement: Sql): Promise<StatementResult> {
    if (opening === undefined) {
      opening = choose((place) => open(scope, place, statement));
      return (await opening).first;
    }
    await last;
    const { client, server } = await opening;
    return await runStatement(client, statement, { server, scope, cancels: true }, asIs);
  }

  try {
    return await fn(queryable(run));
  } finally {
    ended = true;
    await last;
    const opened = await opening?.catch(() => undefined);
    if (opened !== undefined) await end(opened.client);
  }
}

async function open(scope: object, place: SnapshotPlace, statement: Sql): Promise<Opened> {
  const { pool, begin, sample, accept } = place;
  const { server } = pool;
  const client = await pool.acquire();
  try {
    const results = await sendFlight(client, { text: begin, after: [sample] }).catch((error: unknown) => {
      throw translateFailure(error, server);
    });
    await accept(results.at(-1)?.rows[0]);
    const first = await runStatement(client, statement, { server, scope, cancels: true }, asIs);
    return { client, server, first };
  } catch (error) {
    if (isPlimsollError(error, 'PL_DATABASE_UNAVAILABLE')) client.release(true);
    else await end(client);
    throw error;
  }
}

/** Nothing was written; what counts is that the connection goes back as it came. */
async function end(client: pg.PoolClient): Promise<void> {
  try {
    await client.query('rollback');
    client.release();
  } catch {
    client.release(true);
  }
}
