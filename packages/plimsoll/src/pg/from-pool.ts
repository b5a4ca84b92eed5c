import type pg from 'pg';
import type { Database, ReadOnlyOptions } from '../database/database.ts';
import { statementsOn } from '../database/pool-statements.ts';
import { sql, trustedSql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { runTransaction } from '../database/transaction.ts';
import { adoptPool } from './adopted-pool.ts';
import { openSessionLike } from './adopted-session.ts';

export interface FromPoolOptions {
  /** Pools of hot standbys that `readOnly` may use, in turn. Default none: then it reads from the primary. */
  readonly replicas?: readonly pg.Pool[];
  /** Whose telemetry this is. Default the database itself. */
  readonly scope?: object;
}

const beginReadOnly = trustedSql('begin read only');

/**
 * Your pool as a `Database`, for everything of ours that asks for one. `readOnly` on the primary runs each
 * statement in a read-only transaction of its own, because the sessions are yours and not set to read only.
 * `close` leaves your pools open.
 */
export function fromPool(pool: pg.Pool, options: FromPoolOptions = {}): Database {
  const identity = {};
  const scope = options.scope ?? identity;
  const primary = adoptPool(pool, 'primary', scope);
  const replicas = (options.replicas ?? []).map((replica, index) =>
    adoptPool(replica, `replica-${index + 1}`, scope),
  );
  // The next reader in turn.
  let turn = 0;

  function reader({ strong = false, ...asked }: ReadOnlyOptions): Queryable {
    const replica = strong ? undefined : replicas[turn++ % replicas.length];
    return replica === undefined
      ? statementsOn(primary, scope, { begin: beginReadOnly, ...asked })
      : statementsOn(replica, scope, asked);
  }

  const all = [primary, ...replicas];
  const close = (): Promise<void> => Promise.all(all.map((each) => each.close())).then(() => undefined);
  return {
    ...statementsOn(primary, scope),
    scope,
    readOnly: (fn, readOptions = {}) => fn(reader(readOptions)),
    transaction: (fn, transactionOptions) => runTransaction(primary, scope, fn, transactionOptions),
    session: () => openSessionLike(pool, scope),
    pools: () => Object.fromEntries(all.map((each) => [each.server, each.state()])),
    async ping() {
      await Promise.all(all.map((each) => statementsOn(each, scope).query(sql`select 1`)));
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
