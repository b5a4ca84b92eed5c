import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import { currentContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { explainRefusal } from './role-refusal.ts';

interface ModuleRole {
  readonly role: string;
  readonly set: Sql;
  readonly beginRead: Sql;
}
/** Whose handler runs now, and as which role. */
export interface Running extends ModuleRole {
  readonly operation: string;
}

/** Not `none`: the user of the connection may have a role of its own, by `alter role … set role`. */
const ownRole = sql`set local role to default`;

/**
 * The same database, except that what it hands to a handler runs as the role of the handler's module. The role is
 * set with BEGIN and ends with the transaction; each read gets a transaction. What the runtime writes before COMMIT
 * is written by the user of the connection. `roles` is by module, as {@link grantRoles} returns it.
 */
export function roleDatabase(database: Database, roles: ReadonlyMap<string, string>): Database {
  const byModule = new Map<string, ModuleRole>();
  for (const [module, role] of roles) {
    const set = sql`set local role ${sql.id(role)}`;
    byModule.set(module, { role, set, beginRead: sql`begin read only; ${set}` });
  }

  function runningNow(): Running | undefined {
    const operation = currentContext()?.operation;
    const role = operation === undefined ? undefined : byModule.get(operation.split('.', 1)[0] ?? '');
    return operation === undefined || role === undefined ? undefined : { ...role, operation };
  }

  return {
    ...database,
    readOnly(fn, options) {
      const running = runningNow();
      if (running === undefined) return database.readOnly(fn, options);
      return database.readOnly((db) => fn(asRole(db, running)), { ...options, begin: running.beginRead });
    },
    transaction(fn, options = {}) {
      const running = runningNow();
      if (running === undefined) return database.transaction(fn, options);
      // Set when the handler has returned: from then on statements are the runtime's.
      let returned = false;
      const mayRun = (): void => {
        if (!returned) return;
        throw new PlimsollError(
          'PL_TRANSACTION_ENDED',
          `${running.operation} used its transaction after it had returned; await every statement inside the handler`,
        );
      };
      const { beforeCommit } = options;
      return database.transaction(
        (tx) => {
          const ending = fn(transactionOf(tx, asRole(tx, running, mayRun)));
          return ending.finally(() => {
            returned = true;
          });
        },
        {
          ...options,
          holds: () => (returned ? undefined : running.set),
          ...(beforeCommit === undefined
            ? {}
            : { beforeCommit: (tx: Transaction) => beforeCommit(transactionOf(tx, asOwner(tx))) }),
        },
      );
    },
  };
}

function transactionOf(tx: Transaction, { query, one, maybeOne, execute }: Queryable): Transaction {
  return {
    query,
    one,
    maybeOne,
    execute,
    get begun() {
      return tx.begun;
    },
  };
}

/** `mayRun` throws when it is too late for a statement. */
function asRole(on: Queryable, running: Running, mayRun: () => void = () => undefined): Queryable {
  async function run<T>(statement: Sql, send: () => Promise<T>): Promise<T> {
    mayRun();
    try {
      return await send();
    } catch (error) {
      throw explainRefusal(error, running, statement);
    }
  }
  return {
    query: <R extends object>(statement: Sql) => run(statement, () => on.query<R>(statement)),
    one: <R extends object>(statement: Sql) => run(statement, () => on.one<R>(statement)),
    maybeOne: <R extends object>(statement: Sql) =>
      run<R | undefined>(statement, () => on.maybeOne<R>(statement)),
    execute: (statement) => run(statement, () => on.execute(statement)),
  };
}

/** Gives the role back before the first statement; a transaction that nothing else is written in does not. */
function asOwner(tx: Transaction): Queryable {
  let back: Promise<unknown> | undefined = tx.begun ? undefined : Promise.resolve();
  const run = async <T>(send: () => Promise<T>): Promise<T> => {
    await (back ??= tx.execute(ownRole));
    return send();
  };
  return {
    query: <R extends object>(statement: Sql) => run(() => tx.query<R>(statement)),
    one: <R extends object>(statement: Sql) => run(() => tx.one<R>(statement)),
    maybeOne: <R extends object>(statement: Sql) => run<R | undefined>(() => tx.maybeOne<R>(statement)),
    execute: (statement) => run(() => tx.execute(statement)),
  };
}
