import type { Seen } from '../kernel/seen.ts';
import type { PoolState } from './pool.ts';
import type { Consistency } from './routing/consistency.ts';
import type { RoutingState } from './routing/routing.ts';
import type { Session } from './session.ts';
import type { Sql } from './sql.ts';
import type { Queryable } from './statements.ts';
import type { Transaction, TransactionOptions } from './transaction.ts';

export interface ReadOnlyOptions {
  /** Default that of the database. `strong` reads the primary. */
  readonly consistency?: Consistency;
  /** With `eventual`: how old what is read may be. Default as old as the lag budget allows. */
  readonly maxStalenessMs?: number;
  /** What the reader has seen; what it reads is noted in it. Default that of the context. */
  readonly seen?: Seen;
  /** One transaction that sees one moment of one server (repeatable read), instead of single statements. Default false. */
  readonly snapshot?: boolean;
  /** Gets the text of each statement before it is sent; what it throws is the statement's failure. */
  readonly check?: (text: string) => void;
  /**
   * Gives each statement a transaction of its own that begins with this: BEGIN and what must hold in it, such as
   * `set local role`, in one message. Default: no transaction.
   */
  readonly begin?: Sql;
}

/**
 * Plain `query`, `one`, `maybeOne`, `execute` and `transaction` go to the primary. Only `readOnly` may go to a replica,
 * and only to one that shows what its reader has written and read.
 */
export interface Database extends Queryable, AsyncDisposable {
  readonly scope: object;
  /** In causality tokens. */
  readonly name: string;
  readOnly<T>(fn: (db: Queryable) => Promise<T>, options?: ReadOnlyOptions): Promise<T>;
  transaction<T>(fn: (tx: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** A connection to the primary outside the pools, for what must live as long as a session. */
  session(): Promise<Session>;
  /**
   * Takes the positions that were put off, of statements outside transactions: before a token leaves the process.
   * Without an answer of the primary the token stays as it is, and whoever gets it reads from the primary.
   */
  settle(seen: Seen): Promise<void>;
  /**
   * What somebody has seen who may know of everything that was committed until now, such as one who was just given
   * work that others have left here. The position is asked for when a read needs it.
   */
  seenUntilNow(): Seen;
  /** Pools by server name. */
  pools(): Readonly<Record<string, PoolState>>;
  /** Where reads went and why, and how the replicas are. */
  routing(): RoutingState;
  /** Resolves when every server answers; rejects with the first failure. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
