import { DefaultLogger, type DrizzleConfig } from 'drizzle-orm';
import { NodePgDatabase, NodePgTransaction, type NodePgQueryResultHKT } from 'drizzle-orm/node-postgres';
import { PgDialect, type PgDatabase, type PgTransactionConfig } from 'drizzle-orm/pg-core';
import {
  createTableRelationsHelpers,
  extractTablesRelationalConfig,
  type ExtractTablesWithRelations,
  type RelationalSchemaConfig,
  type TablesRelationalConfig,
} from 'drizzle-orm/relations';
import type { Database } from '../database/database.ts';
import type { Consistency } from '../database/routing/consistency.ts';
import { trustedSql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { clientOn } from './client.ts';
import { PlimsollSession, type Transact } from './session.ts';

/** What both give: everything of a Drizzle database for PostgreSQL. */
export type Drizzle<TSchema extends Record<string, unknown>> = PgDatabase<
  NodePgQueryResultHKT,
  TSchema,
  ExtractTablesWithRelations<TSchema>
>;

/** As `drizzle()` takes it, but for Drizzle's own result cache, which would outlive the transaction. */
export type DrizzleOptions<TSchema extends Record<string, unknown>> = Omit<DrizzleConfig<TSchema>, 'cache'>;

type Empty = Record<string, never>;

/**
 * Drizzle on a handler's `tx` or `db`, on a `fromClient` transaction, or on a whole database. In a transaction,
 * `transaction()` is a savepoint; on a database it is a transaction of ours; on `db` it is PL_UNSUPPORTED.
 */
export function drizzleOn<TSchema extends Record<string, unknown> = Empty>(
  on: Queryable | Transaction | Database,
  config: DrizzleOptions<TSchema> = {},
): Drizzle<TSchema> {
  if ('transaction' in on) return build(on, config, transactOn(on), false);
  return build(on, config, refuse, 'begun' in on);
}

/** Drizzle for reading: each query goes where `database.readOnly` sends it, and the server refuses to write. */
export function drizzleRead<TSchema extends Record<string, unknown> = Empty>(
  database: Database,
  config: DrizzleOptions<TSchema> & { readonly consistency?: Consistency } = {},
): Drizzle<TSchema> {
  const { consistency, ...rest } = config;
  const reads: Pick<Queryable, 'query'> = {
    query: (statement) =>
      database.readOnly((db) => db.query(statement), consistency === undefined ? {} : { consistency }),
  };
  return build(reads, rest as DrizzleOptions<TSchema>, refuse, false);
}

/** As `drizzle-orm/node-postgres` builds it, with our session. */
function build<TSchema extends Record<string, unknown>>(
  on: Pick<Queryable, 'query'>,
  config: DrizzleOptions<TSchema>,
  transact: Transact,
  inTransaction: boolean,
): Drizzle<TSchema> {
  const dialect = new PgDialect(config.casing === undefined ? {} : { casing: config.casing });
  const schema = relationsOf(config.schema);
  const logger = config.logger === true ? new DefaultLogger() : config.logger;
  const options = logger === undefined || logger === false ? {} : { logger };
  const session = new PlimsollSession(clientOn(on), dialect, schema, options, transact);
  const built = inTransaction
    ? new NodePgTransaction(dialect, session, schema)
    : new NodePgDatabase(dialect, session, schema as never);
  return built as unknown as Drizzle<TSchema>;
}

function relationsOf(
  fullSchema: Record<string, unknown> | undefined,
): RelationalSchemaConfig<TablesRelationalConfig> | undefined {
  if (fullSchema === undefined) return undefined;
  const { tables, tableNamesMap } = extractTablesRelationalConfig(fullSchema, createTableRelationsHelpers);
  return { fullSchema, schema: tables, tableNamesMap };
}

const transactOn =
  (database: Database): Transact =>
  (fn, config) =>
    database.transaction(async (tx) => {
      const modes = modesOf(config ?? {});
      if (modes.length > 0) await tx.execute(trustedSql(`set transaction ${modes.join(', ')}`));
      return fn(clientOn(tx));
    });

const levels = ['read uncommitted', 'read committed', 'repeatable read', 'serializable'];
const accessModes = ['read only', 'read write'];

/** Only what is in the two lists becomes text of a statement. */
function modesOf({ isolationLevel, accessMode, deferrable }: PgTransactionConfig): readonly string[] {
  return [
    ...levels.filter((level) => level === isolationLevel).map((level) => `isolation level ${level}`),
    ...accessModes.filter((mode) => mode === accessMode),
    ...(deferrable === undefined ? [] : [deferrable ? 'deferrable' : 'not deferrable']),
  ];
}

function refuse(): Promise<never> {
  return Promise.reject(
    new PlimsollError(
      'PL_UNSUPPORTED',
      'plimsoll/drizzle: transaction() is not possible where one may only read; run the queries without it, or use drizzleOn(database)',
    ),
  );
}
