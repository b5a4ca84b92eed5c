import type { Database } from '../database/database.ts';
import type { Sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';

/**
 * The same database, except that what it hands to a handler checks each statement before it is sent. What the
 * runtime itself writes before COMMIT is not checked: it goes to the runtime's own tables.
 */
export function guardDatabase(database: Database, check: (text: string) => void): Database {
  return {
    ...database,
    readOnly: (fn, options) => database.readOnly((db) => fn(guarded(db, check)), options),
    transaction: (fn, options) => database.transaction((tx) => fn(guardedTransaction(tx, check)), options),
  };
}

function guardedTransaction(tx: Transaction, check: (text: string) => void): Transaction {
  const { query, one, maybeOne, execute } = guarded(tx, check);
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

/** The ways are `async`, so that a refusal is a rejection like every other failure of a statement. */
function guarded(on: Queryable, check: (text: string) => void): Queryable {
  const pass = (statement: Sql): Sql => {
    check(statement.compile().text);
    return statement;
  };
  return {
    query: async <R extends object>(statement: Sql) => on.query<R>(pass(statement)),
    one: async <R extends object>(statement: Sql) => on.one<R>(pass(statement)),
    maybeOne: async <R extends object>(statement: Sql) => on.maybeOne<R>(pass(statement)),
    execute: async (statement) => on.execute(pass(statement)),
  };
}
