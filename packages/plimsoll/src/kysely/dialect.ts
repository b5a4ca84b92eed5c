import {
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type DatabaseConnection,
  type Dialect,
  type Driver,
} from 'kysely';
import type { Database } from '../database/database.ts';
import type { Queryable } from '../database/statements.ts';
import { connectionOn, unsupported } from './connection.ts';
import { createDatabaseDriver } from './database-driver.ts';

/** PostgreSQL as Kysely knows it, with connections of ours. */
function dialectOf(createDriver: () => Driver): Dialect {
  return {
    createDriver,
    createQueryCompiler: () => new PostgresQueryCompiler(),
    createAdapter: () => new PostgresAdapter(),
    createIntrospector: (db) => new PostgresIntrospector(db),
  };
}

/** For `new Kysely({ dialect })`: queries and transactions on the primary of `database`, which stays yours to close. */
export function kyselyDialect(database: Database): Dialect {
  return dialectOf(() => createDatabaseDriver(database));
}

/** On a transaction, or on a connection for reading, that somebody else begins and ends. */
export function boundDialect(on: Pick<Queryable, 'query'>, why: string): Dialect {
  const refuse = (): Promise<never> =>
    Promise.reject(unsupported(`transaction() is not possible ${why}`, 'run the queries without it'));
  const connection: DatabaseConnection = connectionOn(on);
  return dialectOf(() => ({
    init: () => Promise.resolve(),
    acquireConnection: () => Promise.resolve(connection),
    beginTransaction: refuse,
    commitTransaction: refuse,
    rollbackTransaction: refuse,
    releaseConnection: () => Promise.resolve(),
    destroy: () => Promise.resolve(),
  }));
}
