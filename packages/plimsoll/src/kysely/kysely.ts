import { Kysely, type KyselyConfig } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Consistency } from '../database/routing/consistency.ts';
import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import { boundDialect, kyselyDialect } from './dialect.ts';

/** Plugins and log, as `new Kysely` takes them. */
export type KyselyOptions = Omit<KyselyConfig, 'dialect'>;

/**
 * Kysely on a handler's `tx` or `db`, on a `fromClient` transaction, or on a whole database. Cheap: make one
 * in each handler. In a transaction, `transaction()` is PL_UNSUPPORTED: the handler has one already.
 */
export function kysely<DB>(on: Queryable | Transaction | Database, options: KyselyOptions = {}): Kysely<DB> {
  return new Kysely<DB>({ ...options, dialect: dialectFor(on) });
}

function dialectFor(on: Queryable | Transaction | Database): KyselyConfig['dialect'] {
  if ('transaction' in on) return kyselyDialect(on);
  return boundDialect(
    on,
    'begun' in on ? 'inside a transaction that is open already' : 'where one may only read',
  );
}

/** Kysely for reading: each query goes where `database.readOnly` sends it, and the server refuses to write. */
export function kyselyRead<DB>(
  database: Database,
  options: KyselyOptions & { readonly consistency?: Consistency } = {},
): Kysely<DB> {
  const { consistency, ...rest } = options;
  const reads: Pick<Queryable, 'query'> = {
    query: (statement) =>
      database.readOnly((db) => db.query(statement), consistency === undefined ? {} : { consistency }),
  };
  return new Kysely<DB>({ ...rest, dialect: boundDialect(reads, 'where one may only read') });
}
