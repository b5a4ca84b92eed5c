import { sql } from 'plimsoll';
import type { Queryable } from 'plimsoll/database';
import type { TableName } from './plan-tree.ts';

export interface TableDefinition extends TableName {
  /** By the last vacuum or analyze; below 0 when there was none. */
  readonly rows: number;
  /** Of the file now. */
  readonly pages: number;
  readonly allVisible: number;
  readonly columns: readonly { readonly name: string; readonly type: string; readonly notNull: boolean }[];
  readonly enums: readonly {
    readonly schema: string;
    readonly name: string;
    readonly labels: readonly string[];
  }[];
}

/** One row of pg_stats; null is unknown. Values stay text: only the server reads them. */
export interface ColumnStatistics {
  readonly name: string;
  readonly nullShare: number;
  readonly width: number;
  /** As in pg_stats: below 0 it is the negative share of the rows. */
  readonly distinct: number;
  readonly correlation: number | null;
  readonly commonValues: string | null;
  readonly commonShares: string | null;
  readonly histogram: string | null;
  readonly commonElements: string | null;
  readonly commonElementShares: string | null;
  readonly elementCounts: string | null;
}

interface Size {
  /** `schema.table`, quoted where it needs to be. */
  readonly sqlName: string;
  readonly rows: number;
  readonly pages: number;
  readonly allVisible: number;
}

const relation = ({ schema, table }: TableName): ReturnType<typeof sql> =>
  sql`(select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = ${schema} and c.relname = ${table} and c.relkind in ('r', 'm'))`;

/** Rows at the size the file has now, which is how the planner counts them. */
export async function readSize(db: Queryable, table: TableName): Promise<Size | undefined> {
  const row = await db.maybeOne<Size & { statPages: number }>(sql`
    select relnamespace::regnamespace::text || '.' || quote_ident(relname) as "sqlName", reltuples::float8 as rows, relpages as "statPages", relallvisible as "allVisible",
      (pg_relation_size(oid) / current_setting('block_size')::int)::int as pages
    from pg_class where oid = ${relation(table)}`);
  if (row === undefined) return undefined;
  const { sqlName, rows, pages, statPages, allVisible } = row;
  return {
    sqlName,
    rows: rows < 0 || statPages === 0 ? rows : Math.round((rows / statPages) * pages),
    pages,
    allVisible,
  };
}

export async function readTable(db: Queryable, table: TableName): Promise<TableDefinition> {
  const size = await readSize(db, table);
  if (size === undefined)
    throw new TypeError(`${table.schema}.${table.table} is not a plain table; its twin cannot be made`);
  // A domain behaves as its base type in every plan.
  const columns = await db.query<{ name: string; type: string; notNull: boolean }>(sql`
    select a.attname as name, a.attnotnull as "notNull",
      case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod)
        else format_type(a.atttypid, a.atttypmod) end as type
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = ${relation(table)} and a.attnum > 0 and not a.attisdropped order by a.attnum`);
  const enums = await db.query<{ schema: string; name: string; labels: string[] }>(sql`
    select n.nspname as schema, t.typname as name,
      array_agg(e.enumlabel::text order by e.enumsortorder) as labels
    from pg_enum e join pg_type t on t.oid = e.enumtypid join pg_namespace n on n.oid = t.typnamespace
    where t.oid in (select atttypid from pg_attribute where attrelid = ${relation(table)} and not attisdropped)
    group by 1, 2`);
  return { ...table, ...size, columns, enums };
}

/** `create index` of each index that the planner may use. */
export async function readIndexes(db: Queryable, table: TableName): Promise<readonly string[]> {
  const rows = await db.query<{ text: string }>(sql`
    select pg_get_indexdef(indexrelid) as text from pg_index
    where indrelid = ${relation(table)} and indisvalid and indislive order by indexrelid`);
  return rows.map(({ text }) => text);
}

export function readStatistics(db: Queryable, table: TableName): Promise<readonly ColumnStatistics[]> {
  return db.query<ColumnStatistics>(sql`
    select attname as name, null_frac as "nullShare", avg_width as width, n_distinct as distinct, correlation,
      most_common_vals::text as "commonValues", most_common_freqs::text as "commonShares",
      histogram_bounds::text as histogram, most_common_elems::text as "commonElements",
      most_common_elem_freqs::text as "commonElementShares", elem_count_histogram::text as "elementCounts"
    from pg_stats where schemaname = ${table.schema} and tablename = ${table.table} and not inherited`);
}
