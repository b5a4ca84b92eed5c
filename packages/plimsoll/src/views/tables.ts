import { sql, trustedSql, type Sql } from '../database/sql.ts';
import type { Database } from '../database/database.ts';
import type { Queryable } from '../database/statements.ts';
import { isNullable, typeOf } from './columns.ts';
import { tableSql } from './place.ts';
import type { View } from './view.ts';

/** `building`: filled beside the live one. `live`: what queries read. `retired`: no longer filled, kept until dropped. */
export type TableState = 'building' | 'live' | 'retired';

/** Why a table does not advance. */
export interface ViewFailure {
  readonly message: string;
  readonly code?: string;
  /** The first event that could not be applied is behind it. */
  readonly position: number;
  readonly at: string;
}

/** One table of a view. */
export interface ViewTable {
  readonly schema: string;
  readonly table: string;
  readonly name: string;
  readonly version: number;
  readonly state: TableState;
  /** The last event that is in the rows. */
  readonly position: number;
  readonly failure: ViewFailure | null;
}

/** Both databases: that of the views, and that of the log, which may be the same. */
export interface Databases {
  readonly database: Database;
  readonly log: Database;
}

export const tableColumns: Sql = sql`
  schema_name as schema, table_name as "table", view_name as name, version, state, position, failure`;

export function tablesOf(
  database: Pick<Queryable, 'query'>,
  schema: string,
  name: string,
): Promise<(ViewTable & { readonly shape: unknown })[]> {
  return database.query(sql`
    select ${tableColumns}, shape from plimsoll.view_table
    where schema_name = ${schema} and view_name = ${name} order by version, made_at`);
}

/** What a table must look like for the code of a version to fill it. */
export function shapeOf({ key, columns }: View): object {
  return { key: Object.entries(key), columns: Object.entries(columns) };
}

export function createTable(schema: string, table: string, view: View): readonly Sql[] {
  const { key, columns, indexes } = view;
  const list = Object.entries({ ...key, ...columns }).map(
    ([name, column]) =>
      sql`${sql.id(name)} ${trustedSql(`${typeOf(column)}${isNullable(column) ? '' : ' not null'}`)}`,
  );
  const ids = (names: readonly string[]): Sql => sql.join(names.map((name) => sql.id(name)));
  const target = tableSql(schema, table);
  return [
    sql`create table ${target} (${sql.join(list)}, primary key (${ids(Object.keys(key))})) with (fillfactor = 80)`,
    ...indexes.map((names) => sql`create index on ${target} (${ids(names)})`),
  ];
}

/** The first name that is free for a table of this version. */
export function freeName(view: View, taken: readonly string[]): string {
  const plain = `${view.name}_v${view.version}`;
  let name = plain;
  for (let build = 2; taken.includes(name); build += 1) name = `${plain}_${build}`;
  return name;
}

/**
 * Lets the view's name show another table, within the transaction that is given. Whoever may use the name may use it
 * afterwards.
 */
export async function showTable(
  tx: Pick<Queryable, 'query' | 'execute'>,
  schema: string,
  view: View,
  table: string,
): Promise<void> {
  const name = tableSql(schema, view.name);
  const grants = await tx.query<{ grantee: string; privilege: string }>(sql`
    select quote_ident(r.rolname) as grantee, a.privilege_type as privilege
    from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
    where n.nspname = ${schema} and c.relname = ${view.name} and c.relkind = 'v' and a.grantee <> c.relowner
      and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')`);
  const columns = sql.join(Object.keys({ ...view.key, ...view.columns }).map((column) => sql.id(column)));
  // Not `create or replace`: a later version may have other columns.
  await tx.execute(sql`drop view if exists ${name}`);
  await tx.execute(sql`create view ${name} as select ${columns} from ${tableSql(schema, table)}`);
  for (const { grantee, privilege } of grants)
    await tx.execute(sql`grant ${trustedSql(privilege)} on ${name} to ${trustedSql(grantee)}`);
}

/** The position from which on the log keeps its events, and the last one; `first` is past `head` when it keeps none. */
export async function keptRange(
  log: Pick<Queryable, 'one'>,
): Promise<{ readonly first: number; readonly head: number }> {
  return log.one(sql`
    select s.position as head, coalesce((select min(position) from plimsoll.event), s.position + 1) as first
    from plimsoll.sequencer s`);
}

/** Notes how far a reader of the log is, where those who drop old events look. */
export function noteReader(name: string, position: number): Sql {
  return sql`
    insert into plimsoll.log_reader (name, position) values (${name}, ${position})
    on conflict (name) do update set position = excluded.position, updated_at = now()`;
}

export function forgetReaders(names: readonly string[]): Sql {
  return sql`delete from plimsoll.log_reader where name = any(${[...names]})`;
}
