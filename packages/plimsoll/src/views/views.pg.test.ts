import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import {
  expectedLevels,
  happening,
  levels,
  stock,
  storedLevels,
  type Happening,
} from '../../test/views/stock.ts';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { background } from '../kernel/channels.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { moveCommitted } from '../outbox/relay.ts';
import { stress } from '../testing/stress.ts';
import { advance, applyNext, PositionMoved, type Filling } from './advance.ts';
import { createViewBuilder, type ViewBuilder } from './builder.ts';
import { noteFailure } from './failure.ts';
import type { PlacedView } from './place.ts';
import { prepareViews } from './prepare.ts';
import { listViews, type ViewStatus } from './status.ts';
import type { Databases } from './tables.ts';
import { view, type ViewEvent } from './view.ts';

let server: TestDatabase;
let database: Database;
let both: Databases;
let schemas = 0;
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

const newSchema = (): string => `views_${(schemas += 1)}`;
const write = async (...list: Happening[]): Promise<void> => {
  await database.execute(happening(list));
  while ((await moveCommitted(database, 1_000)) > 0);
};
async function prepared(name = 'levels', schema = newSchema()): Promise<Filling & { place: PlacedView }> {
  const place = { schema, view: levels(name) };
  await prepareViews(both, [place]);
  return { place, table: `${name}_v1` };
}
async function catchUp(filling: Filling, batch = 1_000): Promise<void> {
  for (;;) {
    const advanced = await advance(both, filling, { ...limits, batch });
    if (advanced.outcome !== 'applied') return;
  }
}
const statusOf = async (schema: string): Promise<ViewStatus[]> =>
  (await listViews(both)).filter((each) => each.schema === schema);
const rowsOf = ({ place }: Filling) => storedLevels(database, place.schema, place.view.name);
async function using<T>(builders: readonly ViewBuilder[], run: () => Promise<T>): Promise<T> {
  try {
    for (const builder of builders) await builder.start();
    return await run();
  } finally {
    await Promise.all(builders.map((builder) => builder.stop()));
  }
}

/** A database in which the connection breaks when all is written and COMMIT is not yet sent. */
const dyingBeforeCommit: Database['transaction'] = (fn, options) =>
  database.transaction(async (tx) => {
    await fn(tx);
    await tx.query(sql`select pg_terminate_backend(pg_backend_pid())`);
    throw new Error('the connection is gone');
  }, options);

const sku = fc.constantFrom('a', 'b', 'c', 'd');
const happenings: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({ type: fc.constant('received'), sku, count: fc.nat(9), place: fc.constantFrom('x', 'y') }),
  fc.record({ type: fc.constant('old'), sku, count: fc.nat(9) }),
  fc.record({
    type: fc.constant('shipped'),
    lines: fc.array(fc.record({ sku, count: fc.nat(9) }), { maxLength: 3 }),
  }),
  fc.record({ type: fc.constant('gone'), sku }),
  fc.record({ type: fc.constant('looked') }),
) as fc.Arbitrary<Happening>;

describe('a view', () => {
  test('is what the whole log makes of it, whoever builds it and whatever is killed meanwhile', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(happenings, { maxLength: 12, size: 'max' }), { minLength: 3, maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 2, maxLength: 2 }),
        fc.array(fc.nat(3), { minLength: 12, maxLength: 12 }),
        async (transactions, batches, kills) => {
          const schema = newSchema();
          const place = { schema, view: levels('levels') };
          const others = batches.map((batch) => {
            const own = createDatabase({ url: server.url, applicationName: `builder of ${schema}` });
            const builder = createViewBuilder({ database: own, views: [place], batch, pollMs: 10 });
            return { own, builder };
          });
          await using(
            others.map(({ builder }) => builder),
            async () => {
              for (const [index, list] of transactions.entries()) {
                await write(...list);
                for (const { builder } of others) builder.wake();
                if (kills[index] === 0)
                  await database.query(sql`
                    select pg_terminate_backend(pid) from pg_stat_activity
                    where application_name = ${`builder of ${schema}`}`);
              }
              await vi.waitFor(
                async () => {
                  for (const { builder } of others) builder.wake();
                  expect((await statusOf(schema)).map(({ behind }) => behind)).toEqual([0]);
                },
                { timeout: 20_000, interval: 20 },
              );
            },
          );
          await Promise.all(others.map(({ own }) => own.close()));
          expect(await storedLevels(database, schema, 'levels')).toEqual(await expectedLevels(database));
        },
      ),
      { numRuns: 3 },
    );
  });

  test('has neither rows nor position of a batch whose builder died before its commit', async () => {
    const filling = await prepared();
    await write({ type: 'received', sku: 'a', count: 1, place: 'x' });
    await catchUp(filling);
    const before = await rowsOf(filling);
    await write({ type: 'received', sku: 'a', count: 1, place: 'y' });
    const dying = { ...database, transaction: dyingBeforeCommit };
    await expect(advance({ database: dying, log: dying }, filling, limits)).rejects.toThrow();
    expect(await rowsOf(filling)).toEqual(before);
    expect((await statusOf(filling.place.schema)).map(({ behind }) => behind)).toEqual([1]);
    await catchUp(filling);
    expect(await rowsOf(filling)).toEqual(await expectedLevels(database));
  });

  test('is moved by one builder at a time, and only from where it is', async () => {
    const filling = await prepared();
    await write({ type: 'received', sku: 'a', count: 1, place: 'x' });
    await database.transaction(async (tx) => {
      await tx.query(
        sql`select 1 from plimsoll.view_table where schema_name = ${filling.place.schema} for no key update`,
      );
      expect(await advance(both, filling, limits)).toEqual({ outcome: 'busy' });
    });
    await catchUp(filling);
    const rows = await rowsOf(filling);
    // A builder that read the position before the other one moved it, and held no lock.
    const stale = database.transaction((tx) => applyNext(tx, both, filling, 0, 1_000));
    await expect(stale).rejects.toThrow(PositionMoved);
    expect(await rowsOf(filling)).toEqual(rows);
  });

  test('that is retired meanwhile is not moved', async () => {
    const filling = await prepared();
    await write({ type: 'looked' });
    const { schema } = filling.place;
    await database.execute(
      sql`update plimsoll.view_table set state = 'retired' where schema_name = ${schema}`,
    );
    expect(await advance(both, filling, limits)).toEqual({ outcome: 'busy' });
    await expect(database.transaction((tx) => applyNext(tx, both, filling, 0, 9))).rejects.toThrow(
      PositionMoved,
    );
  });

  test('may be written by statements of its own', async () => {
    const schema = newSchema();
    const counted = view('counted', {
      version: 1,
      key: { sku: 'text' },
      columns: { times: 'int' },
      events: [stock.received, stock.shipped],
      // #region apply
      async apply(batch, { tx, table }) {
        const received = batch.of(stock.received).map(({ payload }) => ({ sku: payload.sku }));
        await tx.execute(sql`
          insert into ${table} as t (sku, times)
          select sku, count(*) from jsonb_to_recordset(${sql.json(received)}) as r (sku text) group by sku
          on conflict (sku) do update set times = t.times + excluded.times`);
      },
      // #endregion
    });
    const place = { schema, view: counted };
    await prepareViews(both, [place]);
    const marker = `applied ${schema}`;
    await write(
      ...Array.from({ length: 5 }, () => ({ type: 'received', sku: marker, count: 1, place: 'x' }) as const),
    );
    await catchUp({ place, table: 'counted_v1' }, 2);
    expect(
      await database.query(sql`select * from ${sql.id(schema, 'counted')} where sku = ${marker}`),
    ).toEqual([{ sku: marker, times: 5 }]);
  });

  test('has the columns, the key and the indexes that were declared', async () => {
    const schema = newSchema();
    const declared = view('wide', {
      version: 3,
      key: { a: 'uuid', b: 'bigint' },
      columns: { c: 'numeric?', d: 'double precision', e: 'boolean' },
      indexes: [['c', 'a']],
      initial: { c: null, d: 0, e: false },
      fold: (on) => [
        on(
          stock.looked,
          () => ({ a: '00000000-0000-0000-0000-00000000000A', b: 1 }),
          () => ({ c: '1.50', d: 0.5, e: true }),
        ),
      ],
    });
    await prepareViews(both, [{ schema, view: declared }]);
    const definitions = await database.query<{ indexdef: string }>(
      sql`select indexdef from pg_indexes where schemaname = ${schema} order by 1`,
    );
    expect(definitions.map(({ indexdef }) => indexdef)).toEqual([
      `CREATE INDEX wide_v3_c_a_idx ON ${schema}.wide_v3 USING btree (c, a)`,
      `CREATE UNIQUE INDEX wide_v3_pkey ON ${schema}.wide_v3 USING btree (a, b)`,
    ]);
    await write({ type: 'looked' });
    await catchUp({ place: { schema, view: declared }, table: 'wide_v3' });
    await write({ type: 'looked' }, { type: 'looked' });
    await catchUp({ place: { schema, view: declared }, table: 'wide_v3' });
    expect(await database.query(sql`select * from ${sql.id(schema, 'wide')}`)).toEqual([
      { a: '00000000-0000-0000-0000-00000000000a', b: 1, c: '1.50', d: 0.5, e: true },
    ]);
  });
});

describe('an event that cannot be applied', () => {
  test('stops its view in front of it, and no other; when it can be applied the view goes on', async () => {
    const schema = newSchema();
    const views = [levels('good'), levels('bad')].map((each) => ({ schema, view: each }));
    // It cannot hold what the others can.
    const narrow = view('bad', {
      version: 1,
      key: { sku: 'text' },
      columns: { count: 'int' },
      initial: { count: 0 },
      fold: (on) => [
        on(
          stock.received,
          (payload) => ({ sku: payload.sku }),
          (state, { count, sku: id }) => {
            if (id === schema && isBroken) throw new Error('this article is not known');
            return { count: state.count + count };
          },
        ),
      ],
    });
    let isBroken = true;
    const told: unknown[] = [];
    const unsubscribe = background.subscribe(({ scope, error }) => {
      if (scope === views) told.push(error);
    });
    const builder = createViewBuilder({
      database,
      views: [views[0] as PlacedView, { schema, view: narrow }],
      pollMs: 20,
      scope: views,
    });
    const received = (id: string) => ({ type: 'received', sku: id, count: 1, place: 'x' }) as const;
    try {
      await using([builder], async () => {
        await write(received(`${schema} 1`), received(schema), received(`${schema} 2`));
        await vi.waitFor(
          async () => {
            const [bad, good] = await statusOf(schema);
            expect(good).toMatchObject({ name: 'good', behind: 0, failure: null });
            expect(bad).toMatchObject({
              name: 'bad',
              behind: 2,
              failure: { message: 'this article is not known' },
            });
            expect(bad?.failure?.position).toBe(bad?.position);
          },
          { timeout: 20_000, interval: 20 },
        );
        expect(told.length).toBeGreaterThan(0);
        expect(
          await database.query(sql`select * from ${sql.id(schema, 'bad')} where sku like ${`${schema}%`}`),
        ).toEqual([{ sku: `${schema} 1`, count: 1 }]);
        isBroken = false;
        await vi.waitFor(
          async () => {
            builder.wake();
            expect((await statusOf(schema))[0]).toMatchObject({ name: 'bad', behind: 0, failure: null });
          },
          { timeout: 20_000, interval: 50 },
        );
      });
    } finally {
      unsubscribe();
    }
  });

  test('is no failure of the view where a newer process could apply it', async () => {
    const filling = await prepared();
    await catchUp(filling);
    await write({ type: 'received', sku: 'a', count: 1, place: 'x' });
    // An older process knows the event by its first version only.
    const { view: known } = filling.place;
    const received = { ...(known.events.get(stock.received.id) as ViewEvent), version: 1, upcast: {} };
    const old = { ...filling.place, view: { ...known, events: new Map([[received.id, received]]) } };
    await expect(advance(both, { ...filling, place: old }, { ...limits, batch: 1 })).rejects.toMatchObject({
      code: 'PL_EVENT_VERSION',
    });
    const [stuck] = await statusOf(filling.place.schema);
    expect(stuck?.failure).toMatchObject({ code: 'PL_EVENT_VERSION', position: stuck?.position });
    await catchUp(filling);
    const { position = 0 } = stuck ?? {};
    // It told only now.
    await noteFailure(database, filling.place.schema, filling.table, position, new Error('too late'));
    expect(await statusOf(filling.place.schema)).toMatchObject([{ behind: 0, failure: null }]);
  });

  test('is told by what is wrong with it: a payload, a value, or a step that gave nothing', async () => {
    const schema = newSchema();
    const make = (name: string, step: () => unknown) => ({
      schema,
      view: view(name, {
        version: 1,
        key: { sku: 'text' },
        columns: { count: 'int' },
        initial: { count: 0 },
        fold: (on) => [on(stock.received, (payload) => ({ sku: payload.sku }), step as () => null)],
      }),
    });
    const failing = [make('fraction', () => ({ count: 0.5 })), make('nothing', () => undefined)];
    await prepareViews(both, failing);
    await write({ type: 'received', sku: 'a', count: 1, place: 'x' });
    const errors = await Promise.all(
      failing.map((place) =>
        advance(both, { place, table: `${place.view.name}_v1` }, limits).catch((error: unknown) => error),
      ),
    );
    expect(errors.map((error) => isPlimsollError(error, 'PL_VIEW_VALUE') && error.message)).toEqual([
      expect.stringMatching(
        /^view fraction version 1, event \d+ \(stock.received\) at position \d+: count of its state is 0.5; want/,
      ),
      expect.stringMatching(/its state is undefined; give an object of count$/),
    ]);
  });
});

describe('the log', () => {
  test('is held for as long as the view may be built again, and may go behind one that says otherwise', async () => {
    const schema = newSchema();
    const released = view('released', {
      version: 1,
      key: { sku: 'text' },
      columns: {},
      history: 'release',
      initial: {},
      fold: (on) => [
        on(
          stock.gone,
          (payload) => payload,
          (state) => state,
        ),
      ],
    });
    await prepareViews(both, [
      { schema, view: levels('kept') },
      { schema, view: released },
    ]);
    await write({ type: 'gone', sku: schema });
    await catchUp({ place: { schema, view: released }, table: 'released_v1' });
    const [{ head }] = (await statusOf(schema)) as [ViewStatus];
    expect(
      await database.query(
        sql`select name, position from plimsoll.log_reader where name like ${`%${schema}.%`} order by 1`,
      ),
    ).toEqual([
      { name: `view:${schema}.kept:history`, position: 0 },
      { name: `view:${schema}.kept_v1`, position: 0 },
      { name: `view:${schema}.released_v1`, position: head },
    ]);
    expect(
      await database.query(sql`select sku from ${sql.id(schema, 'released')} where sku = ${schema}`),
    ).toEqual([{ sku: schema }]);
  });

  test('that lacks an event stops the view, which says so', async () => {
    const filling = await prepared();
    await write({ type: 'looked' }, { type: 'looked' });
    await catchUp(filling);
    await write({ type: 'looked' });
    await database.transaction(async (tx) => {
      const position = sql`(select position from plimsoll.sequencer)`;
      const { gone } = await tx.one<{ gone: object }>(
        sql`delete from plimsoll.event e where position = ${position} returning to_jsonb(e) as gone`,
      );
      const behind = applyNext(
        tx,
        both,
        filling,
        (await tx.one<{ p: number }>(sql`select ${position} - 1 as p`)).p,
        10,
      );
      await expect(behind).rejects.toMatchObject({ code: 'PL_VIEW_HISTORY' });
      await tx.execute(
        sql`insert into plimsoll.event select * from jsonb_populate_record(null::plimsoll.event, ${sql.json(gone)})`,
      );
    });
  });
});

test('the rows may be in another database than the log, and no event is let go before they have it', async () => {
  const other = await createTestDatabase(inject('cluster'));
  const rows = createDatabase({ url: other.url });
  try {
    await migrate(rows, migrationsOf({ modules: [] }));
    const schema = newSchema();
    const place = { schema, view: levels('levels') };
    const builder = createViewBuilder({
      database: rows,
      log: database,
      views: [place],
      batch: 3,
      pollMs: 20,
    });
    await using([builder], async () => {
      await write({ type: 'received', sku: 'far', count: 2, place: 'x' });
      builder.wake();
      await vi.waitFor(
        async () => {
          const list = await listViews({ database: rows, log: database });
          expect(list.map(({ behind }) => behind)).toEqual([0]);
        },
        { timeout: 20_000, interval: 20 },
      );
    });
    expect(await storedLevels(rows, schema, 'levels')).toEqual(await expectedLevels(database));
    const { position } = await database.one<{ position: number }>(
      sql`select position from plimsoll.log_reader where name = ${`view:${schema}.levels_v1`}`,
    );
    const [status] = await listViews({ database: rows, log: database });
    expect(position).toBe(status?.position);
  } finally {
    await rows.close();
    await other.drop();
  }
});

test('a builder may be started and stopped in every way', async () => {
  const place = { schema: newSchema(), view: levels('levels') };
  await stress(createViewBuilder({ database, views: [place], pollMs: 10 }));
});
