import { createTestDatabase } from '@plimsoll/embedded';
import { expect, inject, test } from 'vitest';
import { levels } from '../../test/views/stock.ts';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { createViewBuilder } from './builder.ts';
import { prepareViews, rebuildView } from './prepare.ts';
import { extendLog } from '../outbox/partitions.ts';
import { listViews } from './status.ts';

const events = 1_000_000;
const articles = 20_000;

/** Prints how fast a million events are built again, and what those who read and write meanwhile notice. */
test('a million events are built again beside the live table, within the share that was given', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const database = createDatabase({ url: server.url, pool: { max: 10, statementTimeoutMs: 600_000 } });
  try {
    await migrate(database, migrationsOf({ modules: [] }));
    await database.transaction((tx) => extendLog(tx, events));
    await database.execute(sql`
      insert into plimsoll.event (position, id, type, version, key, at, correlation_id, caller, payload)
      select n, n, 'stock.received', 2, null, now(), 'c', '{}',
        jsonb_build_object('sku', 'sku ' || (n * 7919::bigint) % ${articles}, 'count', n % 10, 'place', 'x')
      from generate_series(1, ${events}) as n`);
    await database.execute(sql`update plimsoll.sequencer set position = ${events}`);
    await database.execute(sql`analyze plimsoll.event`);
    const views = [{ schema: 'stock', view: levels('levels') }];
    const databases = { database, log: database };
    await prepareViews(databases, views);
    // The live table first, or the builder would fill two.
    const first = createViewBuilder({ database, views, restShare: 0 });
    await first.start();
    await expect.poll(async () => (await listViews(databases))[0]?.behind, { timeout: 300_000 }).toBe(0);
    await first.stop();
    for (const restShare of [0, 0.5]) {
      const table = await rebuildView(databases, views, 'stock.levels');
      const builder = createViewBuilder({ database, views, restShare });
      const startedMs = performance.now();
      const waits: number[] = [];
      await builder.start();
      try {
        for (;;) {
          const askedMs = performance.now();
          await database.query(sql`select * from stock.levels where sku = 'sku 7'`);
          waits.push(performance.now() - askedMs);
          const built = (await listViews(databases)).find((each) => each.table === table);
          if (built?.state === 'live') break;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      } finally {
        await builder.stop();
      }
      const seconds = (performance.now() - startedMs) / 1_000;
      waits.sort((a, b) => a - b);
      const p = (share: number): string => (waits[Math.floor(share * (waits.length - 1))] ?? 0).toFixed(1);
      process.stderr.write(
        `views: ${events} events in ${seconds.toFixed(1)} s, ${Math.round(events / seconds)}/s, restShare ${restShare}; a read of the live table meanwhile: p50 ${p(0.5)} ms, p99 ${p(0.99)} ms, max ${p(1)} ms\n`,
      );
      const [row] = await database.query(sql`
        select (select count(*)::int from stock.levels) as rows, (select sum(count)::int from stock.levels) as total,
          (select sum((payload->>'count')::int)::int from plimsoll.event) as expected`);
      expect(row).toEqual({ rows: articles, total: row?.['expected'], expected: row?.['expected'] });
    }
  } finally {
    await database.close();
    await server.drop();
  }
}, 600_000);
