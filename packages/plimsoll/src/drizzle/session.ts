import { DrizzleQueryError } from 'drizzle-orm';
import {
  NodePgSession,
  NodePgTransaction,
  type NodePgClient,
  type NodePgPreparedQuery,
  type NodePgSessionOptions,
} from 'drizzle-orm/node-postgres';
import type { PgDialect, PgTransactionConfig } from 'drizzle-orm/pg-core';
import type { RelationalSchemaConfig, TablesRelationalConfig } from 'drizzle-orm/relations';
import { isPlimsollError } from '../kernel/errors.ts';

/** Runs `fn` in a transaction of its own, on the client that it is given. */
export type Transact = <T>(
  fn: (client: NodePgClient) => Promise<T>,
  config: PgTransactionConfig | undefined,
) => Promise<T>;

/** Drizzle's node-postgres session, except for who begins a transaction and what becomes of our errors. */
export class PlimsollSession<
  TFullSchema extends Record<string, unknown>,
  TSchema extends TablesRelationalConfig,
> extends NodePgSession<TFullSchema, TSchema> {
  readonly #parts: readonly [PgDialect, RelationalSchemaConfig<TSchema> | undefined, NodePgSessionOptions];
  readonly #transact: Transact;

  constructor(
    client: NodePgClient,
    dialect: PgDialect,
    schema: RelationalSchemaConfig<TSchema> | undefined,
    options: NodePgSessionOptions,
    transact: Transact,
  ) {
    super(client, dialect, schema, options);
    this.#parts = [dialect, schema, options];
    this.#transact = transact;
  }

  override prepareQuery(...given: Parameters<NodePgSession<TFullSchema, TSchema>['prepareQuery']>): never {
    const prepared = super.prepareQuery(...given) as NodePgPreparedQuery<{
      execute: unknown;
      all: unknown;
      values: unknown;
    }>;
    const execute = prepared.execute.bind(prepared);
    const all = prepared.all.bind(prepared);
    prepared.execute = (values) => unwrapped(execute(values));
    prepared.all = (values) => unwrapped(all(values));
    // Drizzle's return type is a parameter that only the caller knows.
    return prepared as never;
  }

  override transaction<T>(
    fn: (tx: NodePgTransaction<TFullSchema, TSchema>) => Promise<T>,
    config?: PgTransactionConfig,
  ): Promise<T> {
    const [dialect, schema, options] = this.#parts;
    return this.#transact((client) => {
      // Inside, `transaction()` is a savepoint of NodePgTransaction and never comes here.
      const session = new PlimsollSession<TFullSchema, TSchema>(
        client,
        dialect,
        schema,
        options,
        this.#transact,
      );
      return fn(new NodePgTransaction(dialect, session, schema));
    }, config);
  }
}

/** A deadline or a broken connection keeps its code; Drizzle would hide it in an error of its own. */
async function unwrapped<T>(running: Promise<T>): Promise<T> {
  try {
    return await running;
  } catch (error) {
    throw error instanceof DrizzleQueryError && isPlimsollError(error.cause) ? error.cause : error;
  }
}
