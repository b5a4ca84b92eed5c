import { afterAll, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { expectedLevels, happening, levels, stock, storedLevels } from '../../test/views/stock.ts';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql, trustedSql } from '../database/sql.ts';
import { moveCommitted } from '../outbox/relay.ts';
import { advance } from './advance.ts';
import { createViewBuilder } from './builder.ts';
import { prepareViews, rebuildView } from './prepare.ts';
import { listViews } from './status.ts';
import { dropRetired, dropView, switchView } from './switch.ts';
import type { Databases } from './tables.ts';
import { view } from './view.ts';

let server: TestDatabase;
let database: Database;
let both: Databases;
let schemas = 0;
let schema: string;
const limits = { batch: 1_000, statementTimeoutMs: 10_000 };

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url, pool: { max: 20 } });
  both = { database, log: database };
  await migrate(database, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  await database.close();
  await server.drop();
});
beforeEach(() => {
  schema = `switched_${(schemas += 1)}`;
});

const place = (version: number, name = 'levels') => ({ schema, view: levels(name, version) });
async function write(count: number, sku = 'a'): Promise<void> {
  await database.execute(happening([{ type: 'received', sku, count, place: 'x' }]));
  while ((await moveCommitted(database, 1_000)) > 0);
}
const tables = async (): Promise<string[]> =>
  (await listViews(both))
    .filter((each) => each.schema === schema)
    .map(({ table, state }) => `${table} ${state}`);
async function catchUp(version: number, table = `levels_v${version}`): Promise<void> {
  while ((await advance(both, { place: place(version), table }, limits)).outcome === 'applied');
}

describe('a changed version', () => {
  test('is built beside the live one, which goes on, and switched to at once under load', async () => {
    await prepareViews(both, [place(1)]);
    for (let round = 0; round < 20; round += 1) await write(1);
    const own = { database, pollMs: 10, batch: 7, restShare: 0 };
    const builders = [
      createViewBuilder({ ...own, views: [place(1)] }),
      createViewBuilder({ ...own, views: [place(1), place(2)] }),
    ];
    let ended = false;
    const seen: number[] = [];
    const writing = (async () => {
      while (!ended) await write(1);
    })();
    const reading = (async () => {
      while (!ended) {
        const [row] = await database.query<{ moves: number; count: number }>(
          sql`select moves, count from ${sql.id(schema, 'levels')} where sku = 'a'`,
        );
        if (row === undefined) continue;
        seen.push(row.moves);
        // Each row is of one version as a whole.
        expect([row.moves, 2 * row.moves]).toContain(row.count);
      }
    })();
    try {
      for (const builder of builders) await builder.start();
      await vi.waitFor(async () => expect(await tables()).toEqual(['levels_v1 retired', 'levels_v2 live']), {
        timeout: 30_000,
        interval: 20,
      });
    } finally {
      ended = true;
      await Promise.all([writing, reading]);
      await Promise.all(builders.map((builder) => builder.stop()));
    }
    await catchUp(2);
    // Nobody saw an earlier state after a later one.
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(await storedLevels(database, schema, 'levels')).toEqual(await expectedLevels(database, 2));
    expect(await dropRetired(both, schema, 'levels')).toEqual(['levels_v1']);
    expect(await tables()).toEqual(['levels_v2 live']);
    expect(
      await database.query(
        sql`select name from plimsoll.log_reader where name like ${`%${schema}.%`} order by 1`,
      ),
    ).toEqual([{ name: `view:${schema}.levels:history` }, { name: `view:${schema}.levels_v2` }]);
  });

  test('is not switched to before it is as far as the live one', async () => {
    await prepareViews(both, [place(1)]);
    for (let round = 0; round < 5; round += 1) await write(1);
    await catchUp(1);
    await prepareViews(both, [place(2)]);
    expect(await switchView(both, place(2), 1)).toEqual({ outcome: 'behind' });
    expect(await tables()).toEqual(['levels_v1 live', 'levels_v2 building']);
    await catchUp(2);
    expect(await switchView(both, place(2), 1)).toMatchObject({ outcome: 'switched', table: 'levels_v2' });
    expect(await switchView(both, place(2), 1)).toEqual({ outcome: 'nothing' });
  });

  test('may be read by whoever might read the one before', async () => {
    await prepareViews(both, [place(1)]);
    await database.execute(sql`grant select on ${sql.id(schema, 'levels')} to pg_monitor`);
    await prepareViews(both, [place(2)]);
    await catchUp(2);
    await switchView(both, place(2), 1_000);
    expect(
      await database.one(
        sql`select has_table_privilege('pg_monitor', ${`${schema}.levels`}, 'select') as may`,
      ),
    ).toEqual({ may: true });
  });

  test('waits for a reader who stays, and lets the others read meanwhile', async () => {
    await prepareViews(both, [place(1)]);
    await prepareViews(both, [place(2)]);
    await catchUp(2);
    await database.transaction(async (tx) => {
      await tx.query(sql`select * from ${sql.id(schema, 'levels')}`);
      await expect(switchView(both, place(2), 1_000)).rejects.toMatchObject({ code: '55P03' });
      expect(await database.query(sql`select * from ${sql.id(schema, 'levels')}`)).toEqual([]);
    });
    expect(await tables()).toEqual(['levels_v1 live', 'levels_v2 building']);
    expect(await switchView(both, place(2), 1_000)).toMatchObject({ outcome: 'switched' });
  });

  test('that was overtaken is retired; an older process changes nothing', async () => {
    await prepareViews(both, [place(1)]);
    await prepareViews(both, [place(2)]);
    await prepareViews(both, [place(3)]);
    await prepareViews(both, [place(2)]);
    await prepareViews(both, [place(1), place(3)]);
    expect(await tables()).toEqual(['levels_v1 live', 'levels_v2 retired', 'levels_v3 building']);
  });

  test('is made only after a switch that is under way', async () => {
    await prepareViews(both, [place(1)]);
    await prepareViews(both, [place(2)]);
    const preparing = Promise.withResolvers<unknown>();
    await database.transaction(async (tx) => {
      // As a switch does, which has not come to its end.
      await tx.query(sql`select 1 from plimsoll.view_table where schema_name = ${schema} for update`);
      preparing.resolve(prepareViews(both, [place(3)]));
      await vi.waitFor(async () =>
        expect(
          await database.query(
            sql`select 1 from pg_stat_activity where query like '%for key share%' and wait_event_type = 'Lock'`,
          ),
        ).toHaveLength(1),
      );
      await tx.execute(
        sql`update plimsoll.view_table set state = 'retired' where schema_name = ${schema} and version = 1`,
      );
      await tx.execute(
        sql`update plimsoll.view_table set state = 'live' where schema_name = ${schema} and version = 2`,
      );
    });
    await preparing.promise;
    expect(await tables()).toEqual(['levels_v1 retired', 'levels_v2 live', 'levels_v3 building']);
  });

  test('has to have another number when its columns are others', async () => {
    await prepareViews(both, [place(1)]);
    const changed = view('levels', {
      version: 1,
      key: { sku: 'text' },
      columns: { other: 'int' },
      initial: { other: 0 },
      fold: (on) => [
        on(
          stock.looked,
          () => undefined,
          (state) => state,
        ),
      ],
    });
    await expect(prepareViews(both, [{ schema, view: changed }])).rejects.toMatchObject({
      code: 'PL_CONFIG',
      message: expect.stringContaining('raise its version') as string,
    });
  });
});

describe('a rebuild', () => {
  test('of a version makes another table of it, which takes the place of the first', async () => {
    await prepareViews(both, [place(1)]);
    await write(3);
    await catchUp(1);
    // Somebody has spoilt it by hand.
    await database.execute(sql`update ${sql.id(schema, 'levels_v1')} set count = -1`);
    expect(await rebuildView(both, [place(1)], `${schema}.levels`)).toBe('levels_v1_2');
    expect(await rebuildView(both, [place(1)], `${schema}.levels`)).toBe('levels_v1_2');
    await catchUp(1, 'levels_v1_2');
    await switchView(both, place(1), 1_000);
    expect(await tables()).toEqual(['levels_v1 retired', 'levels_v1_2 live']);
    expect(await storedLevels(database, schema, 'levels')).toEqual(await expectedLevels(database));
    await expect(rebuildView(both, [place(1)], `${schema}.level`)).rejects.toMatchObject({
      code: 'PL_VIEW_UNKNOWN',
    });
  });

  test('begins with the rows of the live version where the log does not reach back', async () => {
    await prepareViews(both, [place(1)]);
    await write(3, schema);
    await catchUp(1);
    const doubled = view('levels', {
      version: 2,
      key: { sku: 'text' },
      columns: { count: 'int' },
      initial: { count: 0 },
      // #region baseline
      history: 'release',
      baseline: (live) => sql`select sku, count * 2 as count from ${live}`,
      // #endregion
      fold: (on) => [
        on(
          stock.received,
          ({ sku }) => ({ sku }),
          (state, { count }) => ({ count: state.count + 2 * count }),
        ),
      ],
    });
    const undo = new Error('undo');
    // What retention drops, for this one.
    const dropped = database.transaction(async (tx) => {
      await tx.execute(
        sql`delete from plimsoll.event where position < (select position from plimsoll.sequencer)`,
      );
      const within: Database = { ...database, ...tx, transaction: (fn) => fn(tx) };
      await expect(prepareViews({ database: within, log: within }, [place(2)])).rejects.toMatchObject({
        code: 'PL_VIEW_HISTORY',
      });
      await prepareViews({ database: within, log: within }, [{ schema, view: doubled }]);
      expect(await tx.query(sql`select * from ${sql.id(schema, 'levels_v2')} where sku = ${schema}`)).toEqual(
        [{ sku: schema, count: 6 }],
      );
      expect(
        await tx.query(sql`
          select position = (select position from plimsoll.sequencer) as is_there from plimsoll.view_table
          where schema_name = ${schema} order by version`),
      ).toEqual([{ is_there: true }, { is_there: true }]);
      throw undo;
    });
    await expect(dropped).rejects.toBe(undo);
  });
});

test('a view does not take the name of what is there already', async () => {
  await database.execute(sql`create schema ${sql.id(schema)}`);
  await database.execute(sql`create view ${sql.id(schema, 'levels')} as select 1 as one`);
  await expect(prepareViews(both, [place(1)])).rejects.toMatchObject({
    code: 'PL_CONFIG',
    message: expect.stringContaining(
      `the database has a relation ${schema}.levels that is none of a view's`,
    ) as string,
  });
  expect(await database.query(sql`select * from ${sql.id(schema, 'levels')}`)).toEqual([{ one: 1 }]);
  expect(await tables()).toEqual([]);
});

test('a view that is dropped leaves nothing, and comes back from the log', async () => {
  await prepareViews(both, [place(1), place(1, 'other')]);
  await write(2);
  await dropView(both, schema, 'levels');
  expect(await tables()).toEqual(['other_v1 live']);
  expect(
    await database.query(
      sql`select relname from pg_class where relnamespace = ${trustedSql(`'${schema}'::regnamespace`)} and relkind in ('r', 'v') order by 1`,
    ),
  ).toEqual([{ relname: 'other' }, { relname: 'other_v1' }]);
  await prepareViews(both, [place(1)]);
  await catchUp(1);
  expect(await storedLevels(database, schema, 'levels')).toEqual(await expectedLevels(database));
  await expect(dropView(both, schema, 'nowhere')).rejects.toMatchObject({ code: 'PL_VIEW_UNKNOWN' });
});
