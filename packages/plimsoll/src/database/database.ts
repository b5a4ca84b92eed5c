import { createPool, type Pool, type PoolOptions, type PoolState } from './pool.ts';
import { openSession, type Session } from './session.ts';
import { statementsOn } from './pool-statements.ts';
import type { Queryable } from './statements.ts';
import { runTransaction, type Transaction, type TransactionOptions } from './transaction.ts';
import { sql, type Sql } from './sql.ts';

export interface DatabaseOptions {
  /** `postgres://…` of the primary. */
  readonly url: string;
  /** Replicas that `readOnly` may use, in turn. Default none: then `readOnly` reads from the primary. */
  readonly replicaUrls?: readonly string[];
  readonly pool?: PoolOptions;
  /** Whose telemetry this is. Default the database itself. */
  readonly scope?: object;
  /** Shown in pg_stat_activity. Default `plimsoll`. */
  readonly applicationName?: string;
}

export interface ReadOnlyOptions {
  /** Reads the primary, so that everything committed before is seen. Default: a replica, eventual. */
  readonly strong?: boolean;
  /** Gets the text of each statement before it is sent; what it throws is the statement's failure. */
  readonly check?: (text: string) => void;
  /**
   * Gives each statement a transaction of its own that begins with this: BEGIN and what must hold in it, such as
   * `set local role`, in one message. Default: no transaction.
   */
  readonly begin?: Sql;
}

/**
 * Plain `query`, `one`, `maybeOne`, `execute` and `transaction` go to the primary. Only `readOnly` may go to
 * a replica, and what it reads there may be older than the last commit (eventual).
 */
export interface Database extends Queryable, AsyncDisposable {
  readonly scope: object;
  readOnly<T>(fn: (db: Queryable) => Promise<T>, options?: ReadOnlyOptions): Promise<T>;
  transaction<T>(fn: (tx: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** A connection to the primary outside the pools, for what must live as long as a session. */
  session(): Promise<Session>;
  /** Pools by server name. */
  pools(): Readonly<Record<string, PoolState>>;
  /** Resolves when every server answers; rejects with the first failure. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export function createDatabase(options: DatabaseOptions): Database {
  const identity = {};
  const scope = options.scope ?? identity;
  const shared = { ...options.pool, scope, applicationName: options.applicationName ?? 'plimsoll' };
  const primary = createPool({ ...shared, url: options.url, server: 'primary', readOnly: false });
  // Sessions that the server keeps from writing; they open no connection before they are used.
  const primaryReads = createPool({ ...shared, url: options.url, server: 'primary-reads', readOnly: true });
  const replicas = (options.replicaUrls ?? []).map((url, index) =>
    createPool({ ...shared, url, server: `replica-${index + 1}`, readOnly: true }),
  );
  // The next reader in turn.
  let turn = 0;
  let closing: Promise<void> | undefined;

  function reader(strong: boolean): Pool {
    if (strong) return primaryReads;
    const replica = replicas[turn % replicas.length];
    turn += 1;
    return replica ?? primaryReads;
  }

  const all = [primary, primaryReads, ...replicas];
  const close = (): Promise<void> =>
    (closing ??= Promise.all(all.map((pool) => pool.close())).then(() => undefined));

  return {
    ...statementsOn(primary, scope),
    scope,
    readOnly: (fn, { strong = false, ...asked } = {}) => fn(statementsOn(reader(strong), scope, asked)),
    transaction: (fn, transactionOptions) => runTransaction(primary, scope, fn, transactionOptions),
    session: () => openSession({ url: options.url, applicationName: shared.applicationName, scope }),
    pools: () => Object.fromEntries(all.map((pool) => [pool.server, pool.state()])),
    async ping() {
      await Promise.all(all.map((pool) => statementsOn(pool, scope).query(sql`select 1`)));
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
