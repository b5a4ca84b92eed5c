import { PlimsollError } from '../kernel/errors.ts';
import { createPool, type Pool, type PoolOptions, type PoolState } from './pool.ts';
import { openSession, type Session } from './session.ts';
import { queryable, runStatement, type Queryable } from './statements.ts';
import { runTransaction, type Transaction, type TransactionOptions } from './transaction.ts';
import { sql } from './sql.ts';

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

/**
 * Plain `query`, `one`, `maybeOne`, `execute` and `transaction` go to the primary. Only `readOnly` may go to
 * a replica, and what it reads there may be older than the last commit (eventual).
 */
export interface Database extends Queryable, AsyncDisposable {
  readonly scope: object;
  /** `strong` reads the primary, so that everything committed before is seen. Default: a replica, eventual. */
  readOnly<T>(fn: (db: Queryable) => Promise<T>, options?: { readonly strong?: boolean }): Promise<T>;
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

  const on = (pool: Pool): Queryable => {
    const { server, contextWatch } = pool;
    const target = { server, scope, ...(contextWatch === undefined ? {} : { contextWatch }) };
    return queryable(async (statement) => {
      const client = await pool.acquire();
      let broken = false;
      try {
        return await runStatement(client, statement, target);
      } catch (error) {
        broken = error instanceof PlimsollError && error.code === 'PL_DATABASE_UNAVAILABLE';
        throw error;
      } finally {
        client.release(broken);
      }
    });
  };

  const all = [primary, primaryReads, ...replicas];
  const close = (): Promise<void> =>
    (closing ??= Promise.all(all.map((pool) => pool.close())).then(() => undefined));

  return {
    ...on(primary),
    scope,
    readOnly: (fn, { strong = false } = {}) => fn(on(reader(strong))),
    transaction: (fn, transactionOptions) => runTransaction(primary, scope, fn, transactionOptions),
    session: () => openSession({ url: options.url, applicationName: shared.applicationName, scope }),
    pools: () => Object.fromEntries(all.map((pool) => [pool.server, pool.state()])),
    async ping() {
      await Promise.all(all.map((pool) => on(pool).query(sql`select 1`)));
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
