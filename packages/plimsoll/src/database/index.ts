/**
 * `plimsoll/database`: PostgreSQL through `pg`, with sizes, timeouts and waits that are explicit and measured.
 *
 * Guarantee: what is interpolated into {@link sql} is a parameter; a transaction commits exactly when its
 * function resolves; a swallowed statement failure never looks like a commit; a terminated backend never
 * ends the process; int8 and numeric lose no digit.
 *
 * A read through `readOnly` goes to a replica that shows what its reader has written and read, and to the primary
 * where there is none. What a reader has seen is the causality token of its context, or one that is given.
 *
 * Authoritative: the primary; a replica only as far as it was seen to have replayed, since its server last started.
 *
 * States of a replica: serving, or out, for `lag`, failed `polls`, refused `connection`, `promoted`, or another
 * `epoch` than the one that the primary writes; three good polls bring it back.
 *
 * Not promised: retries (run the transaction again yourself on PL_SERIALIZATION), the outcome of a commit
 * whose connection broke (PL_COMMIT_UNKNOWN).
 *
 * Not promised either: that the primary shows at once what a replica has shown, while a commit waits for its
 * synchronous standby; and nothing of reads that ask for `eventual`.
 *
 * On failure: no free connection in time is PL_POOL_TIMEOUT, an unreachable server PL_DATABASE_UNAVAILABLE,
 * a slow statement PL_STATEMENT_TIMEOUT; constraint violations stay the error of `pg` with its SQLSTATE.
 */
export { createDatabase, type Database, type DatabaseOptions, type ReadOnlyOptions } from './database.ts';
export { Seen, type Lsn, type Mark } from '../kernel/seen.ts';
export { seenTokens, type SeenSecret, type SeenTokens } from '../kernel/seen-token.ts';
export { type Consistency } from './routing/consistency.ts';
export { routingMigrations } from './routing/migrations.ts';
export { routingDefaults, type Pooler, type RoutingOptions } from './routing/options.ts';
export { type CanaryState, type ReplicaReport, type RoutingState } from './routing/routing.ts';
export { migrate, type MigrationReport, type MigrationSource } from './migrate.ts';
export { poolDefaults, type PoolOptions, type PoolState } from './pool.ts';
export { Sql, sql, type CompiledSql, type SqlTag } from './sql.ts';
export {
  insertOnce,
  writeIfVersion,
  type InsertedOnce,
  type InsertOnceOptions,
  type VersionedWrite,
  type VersionedWriteOptions,
} from './conditional-write.ts';
export { sqlState } from './failures.ts';
export { type Session } from './session.ts';
export { type Queryable, type Row } from './statements.ts';
export { type Transaction, type TransactionOptions } from './transaction.ts';
