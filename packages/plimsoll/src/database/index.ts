/**
 * `plimsoll/database`: PostgreSQL through `pg`, with sizes, timeouts and waits that are explicit and measured.
 *
 * Guarantee: what is interpolated into {@link sql} is a parameter; a transaction commits exactly when its
 * function resolves; a swallowed statement failure never looks like a commit; a terminated backend never
 * ends the process; int8 and numeric lose no digit.
 *
 * Authoritative: the primary. `readOnly` reads a replica where there is one and is eventual: it may not yet
 * show the caller's own last write.
 *
 * Not promised: retries (run the transaction again yourself on PL_SERIALIZATION), the outcome of a commit
 * whose connection broke (PL_COMMIT_UNKNOWN).
 *
 * On failure: no free connection in time is PL_POOL_TIMEOUT, an unreachable server PL_DATABASE_UNAVAILABLE,
 * a slow statement PL_STATEMENT_TIMEOUT; constraint violations stay the error of `pg` with its SQLSTATE.
 */
export { createDatabase, type Database, type DatabaseOptions, type ReadOnlyOptions } from './database.ts';
export { migrate, type MigrationReport, type MigrationSource } from './migrate.ts';
export { poolDefaults, type PoolOptions, type PoolState } from './pool.ts';
export { Sql, sql, type CompiledSql, type SqlTag } from './sql.ts';
export { sqlState } from './failures.ts';
export { type Session } from './session.ts';
export { type Queryable, type Row } from './statements.ts';
export { type Transaction, type TransactionOptions } from './transaction.ts';
