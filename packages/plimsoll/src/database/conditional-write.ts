import { sql, type Sql } from './sql.ts';
import type { Queryable } from './statements.ts';

/** What came of a write that holds only for one version of a row. */
export type VersionedWrite =
  | { readonly is: 'written'; readonly version: number }
  /** Somebody else has written meanwhile: read again, decide again. */
  | { readonly is: 'changed'; readonly version: number }
  | { readonly is: 'missing' };

export interface VersionedWriteOptions {
  /** `sql.id('orders', 'order')`; it has an integer column `version`. */
  readonly table: Sql;
  /** Which row: by its key. */
  readonly where: Sql;
  /** `sql`state = ${'paid'}``; the version is raised by one. */
  readonly set: Sql;
  /** The one that was read. */
  readonly version: number;
}

/** Writes a row if it is still the version that was read. One statement; it waits for who is writing the row. */
export async function writeIfVersion(
  on: Pick<Queryable, 'one'>,
  { table, where, set, version }: VersionedWriteOptions,
): Promise<VersionedWrite> {
  const { found, written } = await on.one<{ found: number | null; written: number | null }>(sql`
    with found as (select version from ${table} where ${where} for update),
      written as (update ${table} set ${set}, version = version + 1 where (${where}) and version = ${version} returning version)
    select (select version::int from found) as found, (select version::int from written) as written`);
  if (written !== null) return { is: 'written', version: written };
  return found === null ? { is: 'missing' } : { is: 'changed', version: found };
}

/** What came of an insert of a row that may be there. */
export interface InsertedOnce<Row> {
  readonly is: 'inserted' | 'existing';
  readonly row: Row;
}

export interface InsertOnceOptions {
  readonly table: Sql;
  /** By column. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Columns of the key that says whether it is the same row. */
  readonly key: readonly [string, ...string[]];
}

/** Inserts a row unless one of its key is there, and answers the row that is there then, as it is. */
export async function insertOnce<Row extends object>(
  on: Pick<Queryable, 'maybeOne' | 'one'>,
  { table, values, key }: InsertOnceOptions,
): Promise<InsertedOnce<Row>> {
  const columns = Object.keys(values);
  const names = sql.join(columns.map((column) => sql.id(column)));
  const given = sql.join(columns.map((column) => sql`${values[column]}`));
  const target = sql.join(key.map((column) => sql.id(column)));
  const row = await on.maybeOne<Row>(sql`
    insert into ${table} (${names}) values (${given}) on conflict (${target}) do nothing returning *`);
  if (row !== undefined) return { is: 'inserted', row };
  const same = sql.join(
    key.map((column) => sql`${sql.id(column)} = ${values[column]}`),
    sql` and `,
  );
  // A statement of its own: only one that begins now sees what another transaction has just committed.
  return { is: 'existing', row: await on.one<Row>(sql`select * from ${table} where ${same}`) };
}
