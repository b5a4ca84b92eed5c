import type { DatabaseConnection, Driver, TransactionSettings } from 'kysely';
import type { Database } from '../database/database.ts';
import { sql, trustedSql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import { refuseStream, runCompiled, unsupported } from './connection.ts';

/** Thrown inside our transaction so that it rolls back because Kysely said so; no caller sees it. */
class RolledBack extends Error {}

/** A transaction of ours held open until Kysely says how it ends. */
interface OpenTransaction {
  readonly tx: Transaction;
  /** Settles when the transaction has ended. */
  readonly done: Promise<void>;
  readonly commit: () => void;
  readonly rollback: (reason: Error) => void;
}

/** What Kysely takes for a connection: the pool, or one transaction. */
interface Connection extends DatabaseConnection {
  open: OpenTransaction | undefined;
}

const isolationLevels = ['read uncommitted', 'read committed', 'repeatable read', 'serializable'];
const accessModes = ['read only', 'read write'];

export function createDatabaseDriver(database: Database): Driver {
  function connect(): Connection {
    // Outside a transaction each query takes a connection of the pool, so a second one on the same
    // "connection" means somebody relies on a session.
    let used = false;
    const connection: Connection = {
      open: undefined,
      async executeQuery(query) {
        if (connection.open !== undefined) return runCompiled(connection.open.tx, query);
        if (used) {
          throw unsupported(
            'connection() holds no session, because each query takes a connection of the pool',
            'use transaction(), or database.session()',
          );
        }
        used = true;
        return runCompiled(database, query);
      },
      streamQuery: refuseStream,
    };
    return connection;
  }

  return {
    init: () => Promise.resolve(),
    acquireConnection: () => Promise.resolve(connect()),
    async beginTransaction(connection, settings) {
      const open = await holdOpen(database);
      (connection as Connection).open = open;
      try {
        await applySettings(open.tx, settings);
      } catch (error) {
        // Kysely does not roll back what it believes has not begun.
        await end(connection as Connection, open);
        throw error;
      }
    },
    async commitTransaction(connection) {
      const { open } = connection as Connection;
      if (open === undefined) return;
      (connection as Connection).open = undefined;
      open.commit();
      await open.done;
    },
    // Kysely rolls back after a COMMIT that failed too; then nothing is open any more.
    async rollbackTransaction(connection) {
      const { open } = connection as Connection;
      if (open !== undefined) await end(connection as Connection, open);
    },
    savepoint: (connection, name) => onSavepoint(connection, sql`savepoint ${sql.id(name)}`),
    rollbackToSavepoint: (connection, name) =>
      onSavepoint(connection, sql`rollback to savepoint ${sql.id(name)}`),
    releaseSavepoint: (connection, name) => onSavepoint(connection, sql`release savepoint ${sql.id(name)}`),
    releaseConnection: () => Promise.resolve(),
    // The database belongs to whoever made it.
    destroy: () => Promise.resolve(),
  };
}

async function holdOpen(database: Database): Promise<OpenTransaction> {
  const begun = Promise.withResolvers<Transaction>();
  const ending = Promise.withResolvers<void>();
  const done = database.transaction((tx) => {
    begun.resolve(tx);
    return ending.promise;
  });
  // Whoever ends the transaction awaits `done`; until then a failure must not count as unhandled.
  done.catch(begun.reject);
  const tx = await begun.promise;
  return { tx, done, commit: ending.resolve, rollback: ending.reject };
}

async function end(connection: Connection, open: OpenTransaction): Promise<void> {
  connection.open = undefined;
  open.rollback(new RolledBack());
  await open.done.catch((error: unknown) => {
    if (!(error instanceof RolledBack)) throw error;
  });
}

async function applySettings(tx: Queryable, settings: TransactionSettings): Promise<void> {
  const { isolationLevel, accessMode } = settings;
  if (isolationLevel !== undefined && !isolationLevels.includes(isolationLevel)) {
    throw unsupported(`isolation level ${isolationLevel} is not one of PostgreSQL`, 'use "repeatable read"');
  }
  const modes = [
    ...(isolationLevel === undefined ? [] : [`isolation level ${isolationLevel}`]),
    ...(accessMode !== undefined && accessModes.includes(accessMode) ? [accessMode] : []),
  ];
  // From the two lists above, so it is safe as text.
  if (modes.length > 0) await tx.execute(trustedSql(`set transaction ${modes.join(', ')}`));
}

async function onSavepoint(connection: DatabaseConnection, statement: ReturnType<typeof sql>): Promise<void> {
  const { open } = connection as Connection;
  if (open === undefined) throw unsupported('there is no savepoint outside a transaction', 'begin one first');
  await open.tx.execute(statement);
}
