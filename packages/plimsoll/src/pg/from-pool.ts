import type pg from 'pg';
import type { Database } from '../database/database.ts';
import { sql, trustedSql } from '../database/sql.ts';
import { queryable, runStatement, type Queryable } from '../database/statements.ts';
import { runTransaction } from '../database/transaction.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { adoptPool, type AdoptedPool } from './adopted-pool.ts';
import { openSessionLike } from './adopted-session.ts';

export interface FromPoolOptions {
  /** Pools of hot standbys that `readOnly` may use, in turn. Default none: then it reads from the primary. */
  readonly replicas?: readonly pg.Pool[];
  /** Whose telemetry this is. Default the database itself. */
  readonly scope?: object;
}

const readOnlyTransaction = trustedSql('set transaction read only');

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

  function reader(strong: boolean): Queryable {
    const replica = strong ? undefined : replicas[turn++ % replicas.length];
    return replica === undefined ? readingPrimary : on(replica);
  }

  const on = (from: AdoptedPool): Queryable =>
    queryable(async (statement) => {
      const client = await from.acquire();
      let broken = false;
      try {
        const { server, contextWatch } = from;
        return await runStatement(client, statement, { server, scope, contextWatch });
      } catch (error) {
        broken = isPlimsollError(error, 'PL_DATABASE_UNAVAILABLE');
        throw error;
      } finally {
        client.release(broken);
      }
    });

  const readingPrimary = queryable((statement) =>
    runTransaction(primary, scope, async (tx) => {
      await tx.execute(readOnlyTransaction);
      // Only `query` and `execute` tell rows and affected apart; a read needs its rows.
      const rows = await tx.query<Record<string, unknown>>(statement);
      return { rows, affected: rows.length };
    }),
  );

  const all = [primary, ...replicas];
  const close = (): Promise<void> => Promise.all(all.map((each) => each.close())).then(() => undefined);
  return {
    ...on(primary),
    scope,
    readOnly: (fn, { strong = false } = {}) => fn(reader(strong)),
    transaction: (fn, transactionOptions) => runTransaction(primary, scope, fn, transactionOptions),
    session: () => openSessionLike(pool, scope),
    pools: () => Object.fromEntries(all.map((each) => [each.server, each.state()])),
    async ping() {
      await Promise.all(all.map((each) => on(each).query(sql`select 1`)));
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
