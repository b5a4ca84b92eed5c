import type { Database } from '../database/database.ts';

/**
 * The same database, except that each statement of a handler is checked before it is sent. What the runtime itself
 * writes before COMMIT is not checked: it goes to the runtime's own tables.
 */
export function guardDatabase(database: Database, check: (text: string) => void): Database {
  return {
    ...database,
    readOnly: (fn, options) => database.readOnly(fn, { ...options, check }),
    transaction: (fn, options) => database.transaction(fn, { ...options, check }),
  };
}
