import { createTestDatabase } from '@plimsoll/embedded';
import { expect, inject, test } from 'vitest';
import { happening, stock } from '../../test/views/stock.ts';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { dropExpired, extendLog, partitionDefaults } from '../outbox/partitions.ts';
import { moveCommitted } from '../outbox/relay.ts';
import { advance } from './advance.ts';
import { prepareViews } from './prepare.ts';
import { dropView, switchView } from './switch.ts';
import { view, type View } from './view.ts';

/** How many of each article were received. */
const received = (name: string, version: number, more: Partial<Pick<View, 'history' | 'baseline'>>): View =>
  view(name, {
    version,
    key: { sku: 'text' },
    columns: { count: 'bigint' },
    initial: { count: 0 },
    history: more.history ?? 'keep',
    ...(more.baseline === undefined ? {} : { baseline: more.baseline }),
    fold: (on) => [
      on(
        stock.received,
        ({ sku }) => ({ sku }),
        (state, { count }) => ({ count: state.count + count * version }),
      ),
    ],
  });

test('the log drops what every view has applied and none wants back; a new version then begins with a baseline', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const database = createDatabase({ url: server.url });
  const databases = { database, log: database };
  const old = partitionDefaults.least;
  const place = (of: View) => ({ schema: 'stock', view: of });
  const catchUp = async (of: View): Promise<void> => {
    const filling = { place: place(of), table: `${of.name}_v${of.version}` };
    const limits = { batch: 5_000, statementTimeoutMs: 10_000 };
    while ((await advance(databases, filling, limits)).outcome === 'applied');
  };
  try {
    await migrate(database, migrationsOf({ modules: [] }));
    // One partition that is full and old, and the next one.
    await database.transaction((tx) => extendLog(tx, old + 1));
    await database.execute(sql`
      insert into plimsoll.event (position, id, type, version, at, correlation_id, caller, payload)
      select n, n, 'stock.received', 2, now() - interval '1 day', 'c', '{}',
        jsonb_build_object('sku', 'a', 'count', 1, 'place', 'x') from generate_series(1, ${old}) as n`);
    await database.execute(sql`update plimsoll.sequencer set position = ${old}`);

    const [one, kept] = [received('one', 1, { history: 'release' }), received('kept', 1, {})];
    await prepareViews(databases, [place(one), place(kept)]);
    await catchUp(one);
    await catchUp(kept);
    // Somebody may want to build `kept` again from the first event.
    expect(await dropExpired(database, 1_000)).toBe(0);
    await dropView(databases, 'stock', 'kept');
    expect(await dropExpired(database, 1_000)).toBe(1);
    expect(await database.one(sql`select count(*)::int as n from plimsoll.event`)).toEqual({ n: 0 });

    const write = async (): Promise<void> => {
      await database.execute(happening([{ type: 'received', sku: 'a', count: 5, place: 'x' }]));
      await moveCommitted(database, 10);
    };
    await write();
    await catchUp(one);
    const rows = () => database.query(sql`select * from stock.one`);
    expect(await rows()).toEqual([{ sku: 'a', count: old + 5 }]);

    await expect(prepareViews(databases, [place(kept)])).rejects.toMatchObject({ code: 'PL_VIEW_HISTORY' });
    const without = received('one', 2, { history: 'release' });
    await expect(prepareViews(databases, [place(without)])).rejects.toMatchObject({
      code: 'PL_VIEW_HISTORY',
    });
    const two = received('one', 2, {
      history: 'release',
      baseline: (live) => sql`select sku, count * 2 as count from ${live}`,
    });
    await prepareViews(databases, [place(one), place(two)]);
    await write();
    await catchUp(one);
    await catchUp(two);
    expect(await switchView(databases, place(two), 10)).toMatchObject({ outcome: 'switched' });
    expect(await rows()).toEqual([{ sku: 'a', count: 2 * (old + 10) }]);
  } finally {
    await database.close();
    await server.drop();
  }
});
