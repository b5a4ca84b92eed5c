import { randomBytes } from 'node:crypto';
import { sql } from 'plimsoll';
import { createDatabase, type Session } from 'plimsoll/database';
import { Closing } from '../closing.ts';
import { createIndexSql, type IndexCandidate } from './index-candidates.ts';
import { explain, type PlanNode, type TableName } from './plan-tree.ts';
import { quoted, rawSql } from './raw-sql.ts';
import {
  readIndexes,
  readStatistics,
  readTable,
  type ColumnStatistics,
  type TableDefinition,
} from './table-definition.ts';

/**
 * A database that has the tables of another one, their indexes and their statistics, and not one row. The planner
 * decides by statistics and by the size of the files, so it plans here as it does there, and an index can be
 * tried without touching the original. Lives on the same server; dropped when disposed of.
 */
export interface Twin extends AsyncDisposable {
  plan(text: string): Promise<PlanNode>;
  /** The plan with the index, which is gone again afterwards. */
  planWith(text: string, table: TableName, index: IndexCandidate): Promise<PlanNode>;
  /** Tables so large that their twin is smaller: reading them whole looks cheaper here than it is. */
  readonly shrunk: readonly string[];
}

/** `pg_restore_relation_stats` and `pg_restore_attribute_stats` came with 18. */
export const twinNeedsVersion = 18;

/** 256 MB of empty pages: larger tables are scaled down, which makes their whole reading look cheaper. */
const defaultMaxPages = 32_768;
const prefix = 'plimsoll_doctor_';

export async function openTwin(
  source: Session,
  url: string,
  tables: readonly TableName[],
  maxPages = defaultMaxPages,
): Promise<Twin> {
  await dropForgotten(source);
  const name = `${prefix}${Date.now()}_${randomBytes(4).toString('hex')}`;
  await using building = new Closing();
  await source.execute(sql`create database ${sql.id(name)} template template0`);
  building.defer(async () => {
    await source.execute(sql`drop database if exists ${sql.id(name)} with (force)`);
  });
  const target = new URL(url);
  target.pathname = `/${name}`;
  const database = building.use(
    createDatabase({ url: target.href, applicationName: 'plimsoll doctor', pool: { max: 1 } }),
  );
  const twin = await database.session();
  building.defer(() => twin.close());
  await copySettings(source, twin);
  const shrunk: string[] = [];
  for (const table of tables) {
    const definition = await readTable(source, table);
    const pages = Math.min(maxPages, definition.pages);
    if (pages < definition.pages) shrunk.push(`${table.schema}.${table.table}`);
    await buildTable(twin, definition, pages);
    for (const index of await readIndexes(source, table)) {
      // An index of an extension or a function that is not here cannot be built; the plans are compared anyway.
      await twin.execute(rawSql(index)).catch(() => undefined);
    }
    await restoreStatistics(twin, definition, pages, await readStatistics(source, table));
  }
  const owned = building.move();
  return {
    shrunk,
    plan: (text) => explain(twin, text),
    async planWith(text, table, index) {
      await twin.execute(rawSql('begin'));
      try {
        await twin.execute(
          rawSql(
            createIndexSql(`${quoted(table.schema)}.${quoted(table.table)}`, index, { concurrently: false }),
          ),
        );
        return await explain(twin, text);
      } finally {
        await twin.execute(rawSql('rollback'));
      }
    },
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

/** A doctor that was killed has left its twin behind; after an hour nobody works with it any more. */
async function dropForgotten(source: Session): Promise<void> {
  const names = await source.query<{ name: string }>(
    sql`select datname as name from pg_database where datname ~ ${`^${prefix}[0-9]+_[0-9a-f]+$`}`,
  );
  const old = names.filter(({ name }) => Number(name.split('_')[2]) < Date.now() - 3_600_000);
  for (const { name } of old) {
    // It may be another role's, or just being dropped by another doctor.
    await source.execute(sql`drop database if exists ${sql.id(name)} with (force)`).catch(() => undefined);
  }
}

/** What was set for the original's database or role decides plans as well. */
async function copySettings(source: Session, twin: Session): Promise<void> {
  const settings = await source.query<{ name: string; setting: string }>(sql`
    select name, setting from pg_settings
    where category like 'Query Tuning%' and context in ('user', 'superuser') or name = 'search_path'`);
  for (const { name, setting } of settings)
    await twin.query(sql`select set_config(${name}, ${setting}, false)`).catch(() => undefined);
}

async function buildTable(twin: Session, table: TableDefinition, pages: number): Promise<void> {
  const { schema, table: name, columns, enums } = table;
  await twin.execute(sql`create schema if not exists ${sql.id(schema)}`);
  for (const { schema: typeSchema, name: typeName, labels } of enums) {
    await twin.execute(sql`create schema if not exists ${sql.id(typeSchema)}`);
    const listed = labels.map((label) => `'${label.replaceAll("'", "''")}'`).join(', ');
    const exists = await twin.maybeOne(
      sql`select 1 from pg_type t join pg_namespace n on n.oid = t.typnamespace where n.nspname = ${typeSchema} and t.typname = ${typeName}`,
    );
    if (exists === undefined)
      await twin.execute(rawSql(`create type ${quoted(typeSchema)}.${quoted(typeName)} as enum (${listed})`));
  }
  const target = `${quoted(schema)}.${quoted(name)}`;
  const list = columns.map((column) => `${quoted(column.name)} ${column.type}`).join(', ');
  // Autovacuum would cut off the empty pages; an unlogged table writes no log and reaches no replica.
  await twin.execute(
    rawSql(
      `create unlogged table ${target} (${list}, plimsoll_pad text storage plain) with (fillfactor = 10, autovacuum_enabled = false)`,
    ),
  );
  // Each row fills a page past its fillfactor; the rollback takes the rows and leaves the pages.
  await twin.execute(rawSql('begin'));
  await twin.execute(
    sql`insert into ${rawSql(target)} (plimsoll_pad) select repeat('x', 1000) from generate_series(1, ${pages}::int)`,
  );
  await twin.execute(rawSql('rollback'));
  await twin.execute(rawSql(`alter table ${target} drop column plimsoll_pad`));
  const notNull = columns.filter((column) => column.notNull);
  if (notNull.length > 0)
    await twin.execute(
      rawSql(
        `alter table ${target} ${notNull.map((column) => `alter column ${quoted(column.name)} set not null`).join(', ')}`,
      ),
    );
}

async function restoreStatistics(
  twin: Session,
  { schema, table, rows, pages: allPages, allVisible }: TableDefinition,
  pages: number,
  columns: readonly ColumnStatistics[],
): Promise<void> {
  // The planner multiplies the density (rows by page) with the pages of the file: rows stay exact when pages are fewer.
  const visible = allPages === 0 ? 0 : Math.round((allVisible / allPages) * pages);
  await twin.query(sql`
    select pg_restore_relation_stats('schemaname', ${schema}::text, 'relname', ${table}::text,
      'relpages', ${pages}::int, 'reltuples', ${rows}::real, 'relallvisible', ${visible}::int)`);
  for (const column of columns) {
    await twin.query(sql`
      select pg_restore_attribute_stats('schemaname', ${schema}::text, 'relname', ${table}::text,
        'attname', ${column.name}::text, 'inherited', false,
        'null_frac', ${column.nullShare}::real, 'avg_width', ${column.width}::int,
        'n_distinct', ${column.distinct}::real, 'correlation', ${column.correlation}::real,
        'most_common_vals', ${column.commonValues}::text,
        'most_common_freqs', ${column.commonShares}::real[],
        'histogram_bounds', ${column.histogram}::text,
        'most_common_elems', ${column.commonElements}::text,
        'most_common_elem_freqs', ${column.commonElementShares}::real[],
        'elem_count_histogram', ${column.elementCounts}::real[])`);
  }
}
