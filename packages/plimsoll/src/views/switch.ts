import { sql } from '../database/sql.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { applyNext, type Filling } from './advance.ts';
import { historyName, readerName, tableSql, type PlacedView } from './place.ts';
import { retire } from './prepare.ts';
import { forgetReaders, showTable, tablesOf, type Databases, type ViewTable } from './tables.ts';

/** How long a switch waits for those who read the view before it lets everybody else read on, and tries again later. */
const lockTimeoutMs = 500;

/** `behind`: too far to be brought up within the switch. `nothing`: no table is being built, or somebody else switches. */
export type Switched =
  | { readonly outcome: 'switched'; readonly table: string; readonly position: number }
  | { readonly outcome: 'behind' | 'nothing' };

/**
 * Lets the view's name show the table that is being built, if that has caught up, and retires the live one: at once for
 * all, in one transaction. Both are held meanwhile and the new one is brought to where the old one is, so that nobody
 * who has read the one is shown an earlier state by the other. Rejects with PL_STATEMENT_TIMEOUT or PL_DATABASE_UNAVAILABLE
 * when readers hold the view for too long; nothing has changed then.
 */
export function switchView(databases: Databases, place: PlacedView, batch: number): Promise<Switched> {
  const { schema, view } = place;
  return databases.database.transaction(async (tx) => {
    await tx.query(sql`select set_config('lock_timeout', ${String(lockTimeoutMs)}, true)`);
    await tx.query(sql`
      select 1 from plimsoll.view_table
      where schema_name = ${schema} and view_name = ${view.name} and state <> 'retired'
      order by table_name for update`);
    const tables = await tablesOf(tx, schema, view.name);
    const building = tables.find(({ state }) => state === 'building');
    const live = tables.find(({ state }) => state === 'live');
    if (building === undefined || building.version !== view.version) return { outcome: 'nothing' };
    const filling: Filling = { place, table: building.table };
    const advanced = await applyNext(tx, databases, filling, building.position, batch);
    if (advanced.position < (live?.position ?? 0)) return { outcome: 'behind' };
    // The live one may have stopped long ago, for want of code that fills it: what counts is the log.
    if (advanced.head - advanced.position > batch) return { outcome: 'behind' };
    if (live !== undefined) await retire(tx, databases, live);
    await tx.execute(sql`
      update plimsoll.view_table set state = 'live', switched_at = now()
      where schema_name = ${schema} and table_name = ${building.table}`);
    await showTable(tx, schema, view, building.table);
    return { outcome: 'switched', table: building.table, position: advanced.position };
  });
}

/** Drops the retired tables of a view. Answers their names. */
export function dropRetired(databases: Databases, schema: string, name: string): Promise<readonly string[]> {
  return drop(databases, schema, name, ({ state }) => state === 'retired');
}

/**
 * Drops all of a view: its name, its tables, and what holds the log for it. For a view that is no longer declared; a
 * declared one comes back, built from the log, when the app next starts.
 */
export function dropView(databases: Databases, schema: string, name: string): Promise<readonly string[]> {
  return drop(databases, schema, name, () => true);
}

function drop(
  { database, log }: Databases,
  schema: string,
  name: string,
  which: (table: ViewTable) => boolean,
): Promise<readonly string[]> {
  return database.transaction(async (tx) => {
    await tx.query(sql`select set_config('lock_timeout', ${String(lockTimeoutMs)}, true)`);
    await tx.query(sql`
      select 1 from plimsoll.view_table where schema_name = ${schema} and view_name = ${name}
      order by table_name for update`);
    const tables = await tablesOf(tx, schema, name);
    if (tables.length === 0)
      throw new PlimsollError('PL_VIEW_UNKNOWN', `the database has no table of a view ${schema}.${name}`);
    const going = tables.filter(which);
    const all = going.length === tables.length;
    if (all) await tx.execute(sql`drop view if exists ${tableSql(schema, name)}`);
    for (const { table } of going) await tx.execute(sql`drop table ${tableSql(schema, table)}`);
    await tx.execute(sql`
      delete from plimsoll.view_table
      where schema_name = ${schema} and table_name = any(${going.map(({ table }) => table)})`);
    const readers = going.map(({ table }) => readerName(schema, table));
    const forget = forgetReaders(all ? [...readers, historyName(schema, name)] : readers);
    await (log === database ? tx : log).execute(forget);
    return going.map(({ table }) => table);
  });
}
