import { sql, trustedSql, type Sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { typeOf, type Columns } from './columns.ts';
import { rowId, type FoldedRow, type Values } from './fold.ts';
import type { View } from './view.ts';

const names = (columns: Columns): Sql => sql.join(Object.keys(columns).map((name) => sql.id(name)));

/** `(key text, state int)`; the types are of our own table of types. */
const typed = (columns: Columns): Sql =>
  sql.join(
    Object.entries(columns).map(([name, column]) => sql`${sql.id(name)} ${trustedSql(typeOf(column))}`),
  );

const matching = (key: Columns): Sql =>
  sql.join(
    Object.keys(key).map((name) => sql`t.${sql.id(name)} = k.${sql.id(name)}`),
    sql` and `,
  );

/** What is stored of these rows, by their ids; read in the transaction that will write them. */
export async function storedRows(
  tx: Pick<Queryable, 'query'>,
  table: Sql,
  view: View,
  keys: readonly Values[],
): Promise<ReadonlyMap<string, Values>> {
  if (keys.length === 0) return new Map();
  const rows = await tx.query<Record<string, unknown>>(sql`
    select t.* from jsonb_to_recordset(${sql.json(keys)}) as k (${typed(view.key)})
    join ${table} t on ${matching(view.key)}`);
  return new Map(rows.map((row) => [rowId(view, row), pick(row, view.columns)]));
}

/** Writes the rows of a batch: one statement for those that are, one for those that went. */
export async function writeRows(
  tx: Pick<Queryable, 'execute'>,
  table: Sql,
  view: View,
  rows: readonly FoldedRow[],
): Promise<void> {
  const kept = rows.flatMap(({ key, state }) => (state === null ? [] : [{ ...key, ...state }]));
  const gone = rows.flatMap(({ key, state }) => (state === null ? [key] : []));
  const all = { ...view.key, ...view.columns };
  if (kept.length > 0) {
    const changes = Object.keys(view.columns).map((name) => sql`${sql.id(name)} = excluded.${sql.id(name)}`);
    const otherwise = changes.length === 0 ? sql`nothing` : sql`update set ${sql.join(changes)}`;
    await tx.execute(sql`
      insert into ${table} (${names(all)}) select ${names(all)} from jsonb_to_recordset(${sql.json(kept)}) as r (${typed(all)})
      on conflict (${names(view.key)}) do ${otherwise}`);
  }
  if (gone.length > 0)
    await tx.execute(sql`
      delete from ${table} t using jsonb_to_recordset(${sql.json(gone)}) as k (${typed(view.key)})
      where ${matching(view.key)}`);
}

function pick(row: Values, columns: Columns): Values {
  return Object.fromEntries(Object.keys(columns).map((name) => [name, row[name]]));
}
