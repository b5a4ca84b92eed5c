import { isDeepStrictEqual } from 'node:util';
import { sql, trustedSql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { assertPlaces, historyName, readerName, tableSql, viewName, type PlacedView } from './place.ts';
import {
  createTable,
  forgetReaders,
  freeName,
  keptRange,
  noteReader,
  shapeOf,
  showTable,
  tablesOf,
  type Databases,
  type ViewTable,
} from './tables.ts';

/**
 * Makes what the declared views need and is not there: of a new view its table and the SQL view of its name, of a new
 * version a table to be built beside the live one. Safe from many processes at once, and from older ones: of a version
 * that is behind the live one nothing is made. PL_CONFIG when the columns of a version are not those that it had,
 * PL_VIEW_HISTORY when the log no longer has the events that a version needs.
 */
export async function prepareViews(databases: Databases, places: readonly PlacedView[]): Promise<void> {
  assertPlaces(places);
  for (const declared of newestFirst(places).values()) await prepare(databases, declared);
}

/** All declared versions of each view, the newest first. */
export function newestFirst(places: readonly PlacedView[]): ReadonlyMap<string, readonly PlacedView[]> {
  const byName = new Map<string, PlacedView[]>();
  for (const place of places) byName.set(viewName(place), [...(byName.get(viewName(place)) ?? []), place]);
  for (const list of byName.values()) list.sort((a, b) => b.view.version - a.view.version);
  return byName;
}

async function prepare(databases: Databases, declared: readonly PlacedView[]): Promise<void> {
  const [newest] = declared as readonly [PlacedView];
  const { view } = newest;
  await holdHistory(databases, newest);
  await locked(databases, async (tx) => {
    const tables = await heldTables(tx, newest);
    for (const place of declared) assertShape(place, tables);
    const live = tables.find(({ state }) => state === 'live');
    const building = tables.find(({ state }) => state === 'building');
    if (live === undefined) {
      await make(tx, databases, newest, tables, 'live');
    } else if (view.version > live.version && (building === undefined || view.version > building.version)) {
      if (building !== undefined) await retire(tx, databases, building);
      await make(tx, databases, newest, tables, 'building');
    }
  });
}

/**
 * Begins to build a view anew beside its live table, from the events; the newest declared version, whichever is live.
 * Answers the table that is being built, also when it was begun before.
 */
export async function rebuildView(
  databases: Databases,
  places: readonly PlacedView[],
  name: string,
): Promise<string> {
  const [newest] = newestFirst(places).get(name) ?? [];
  if (newest === undefined)
    throw new PlimsollError(
      'PL_VIEW_UNKNOWN',
      `there is no view ${JSON.stringify(name)}; there are ${[...new Set(places.map(viewName))].join(', ') || 'none'}`,
    );
  await prepareViews(databases, places);
  return locked(databases, async (tx) => {
    const tables = await heldTables(tx, newest);
    const building = tables.find(({ state }) => state === 'building');
    if (building?.version === newest.view.version) return building.table;
    if (building !== undefined) await retire(tx, databases, building);
    return make(tx, databases, newest, tables, 'building');
  });
}

/** Ends the filling of a table; within the transaction that is given. */
export async function retire(
  tx: Transaction,
  { database, log }: Databases,
  { schema, table }: Pick<ViewTable, 'schema' | 'table'>,
): Promise<void> {
  await tx.execute(
    sql`update plimsoll.view_table set state = 'retired', failure = null where schema_name = ${schema} and table_name = ${table}`,
  );
  await (log === database ? tx : log).execute(forgetReaders([readerName(schema, table)]));
}

/** As a migration: one process at a time, for as long as it takes. */
export function locked<T>({ database }: Databases, run: (tx: Transaction) => Promise<T>): Promise<T> {
  return database.transaction(async (tx) => {
    await tx.execute(sql`set local statement_timeout = 0`);
    await tx.query(sql`select pg_advisory_xact_lock(hashtextextended('plimsoll.migration', 0))`);
    return run(tx);
  });
}

/** Nobody switches from here on; those who fill the tables go on. */
async function heldTables(tx: Transaction, { schema, view }: PlacedView): ReturnType<typeof tablesOf> {
  await tx.query(sql`
    select 1 from plimsoll.view_table where schema_name = ${schema} and view_name = ${view.name} for key share`);
  return tablesOf(tx, schema, view.name);
}

async function holdHistory({ log }: Databases, { schema, view }: PlacedView): Promise<void> {
  const reader = historyName(schema, view.name);
  if (view.history === 'keep')
    await log.execute(
      sql`insert into plimsoll.log_reader (name, position) values (${reader}, 0) on conflict do nothing`,
    );
  else await log.execute(forgetReaders([reader]));
}

function assertShape(
  { schema, view }: PlacedView,
  tables: readonly (ViewTable & { shape: unknown })[],
): void {
  for (const { version, state, table, shape } of tables) {
    if (version !== view.version || state === 'retired' || isDeepStrictEqual(shape, shapeOf(view))) continue;
    throw new PlimsollError(
      'PL_CONFIG',
      `view ${schema}.${view.name} version ${version} has other columns than its table ${table}: declared ${JSON.stringify(shapeOf(view))}, there ${JSON.stringify(shape)}; raise its version`,
      { data: { view: `${schema}.${view.name}`, version } },
    );
  }
}

async function make(
  tx: Transaction,
  databases: Databases,
  place: PlacedView,
  tables: readonly ViewTable[],
  state: 'live' | 'building',
): Promise<string> {
  const { schema, view } = place;
  const { log, database } = databases;
  const table = freeName(
    view,
    tables.map((other) => other.table),
  );
  const source = log === database ? tx : log;
  // Before the log is looked at, so that nothing is dropped from then on.
  await source.execute(noteReader(readerName(schema, table), 0));
  const { first } = await keptRange(source);
  const live = tables.find((other) => other.state === 'live');
  // Of the same version the rows are there already: what they lack only the log can give.
  const seeded =
    first > 1 && view.baseline !== undefined && live !== undefined && live.version < view.version;
  if (first > 1 && !seeded && (view.history === 'keep' || live !== undefined))
    throw historyGone(place, first);
  const known = await tx.maybeOne(sql`select 1 from pg_namespace where nspname = ${schema}`);
  if (known === undefined) await tx.execute(sql`create schema ${sql.id(schema)}`);
  await assertFree(tx, schema, state === 'live' && tables.length === 0 ? [view.name, table] : [table]);
  for (const statement of createTable(schema, table, view)) await tx.execute(statement);
  await tx.execute(sql`
    insert into plimsoll.view_table (schema_name, table_name, view_name, version, state, position, from_position, shape)
    values (${schema}, ${table}, ${view.name}, ${view.version}, ${state}, ${first - 1}, ${first - 1}, ${sql.json(shapeOf(view))})`);
  if (seeded) await seed(tx, place, table, live);
  if (state === 'live') await showTable(tx, schema, view, table);
  return table;
}

/** What is there under such a name is not ours to replace. */
async function assertFree(tx: Transaction, schema: string, names: readonly string[]): Promise<void> {
  const [taken] = await tx.query<{ name: string }>(sql`
    select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = ${schema} and c.relname = any(${[...names]})`);
  if (taken === undefined) return;
  throw new PlimsollError(
    'PL_CONFIG',
    `view ${schema}.${names[0]}: the database has a relation ${schema}.${taken.name} that is none of a view's; give the view another name, or drop the relation`,
    { data: { schema, name: taken.name } },
  );
}

/** In one statement, so that rows and position are of the same moment, while the live table goes on. */
async function seed(tx: Transaction, place: PlacedView, table: string, live: ViewTable): Promise<void> {
  const { schema, view } = place;
  const names = sql.join(Object.keys({ ...view.key, ...view.columns }).map((name) => sql.id(name)));
  const rows = view.baseline?.(tableSql(schema, live.table)) ?? trustedSql('');
  await tx.execute(sql`
    with copied as (insert into ${tableSql(schema, table)} (${names}) select ${names} from (${rows}) as baseline)
    update plimsoll.view_table set (position, from_position) = (
      select position, position from plimsoll.view_table where schema_name = ${schema} and table_name = ${live.table})
    where schema_name = ${schema} and table_name = ${table}`);
}

function historyGone({ schema, view }: PlacedView, first: number): PlimsollError {
  return new PlimsollError(
    'PL_VIEW_HISTORY',
    `view ${schema}.${view.name} version ${view.version} is made of all events, and the log begins at position ${first}; declare a baseline, which begins with the rows of the live version, or history: 'release' for a new view that may begin where the log does`,
    { data: { view: `${schema}.${view.name}`, version: view.version, first } },
  );
}
