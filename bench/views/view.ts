import { contract, event, view } from 'plimsoll';
import { migrate, sql, type Database } from 'plimsoll/database';
import { jobMigrations } from 'plimsoll/jobs';
import { extendLog, outboxMigrations } from 'plimsoll/outbox';
import { viewMigrations, type PlacedView } from 'plimsoll/views';
import { z } from 'zod';

export const stock = contract('stock', {
  received: event({ payload: z.object({ sku: z.string(), count: z.int(), place: z.string() }) }),
});

/** Of each article: how many there are, how often it was received, and when last. */
export const levels = view('levels', {
  version: 1,
  key: { sku: 'text' },
  columns: { count: 'bigint', moves: 'bigint', last: 'timestamptz?' },
  initial: { count: 0, moves: 0, last: null },
  fold: (on) => [
    on(
      stock.received,
      ({ sku }) => ({ sku }),
      (row, { count }, { at }) => ({ count: row.count + count, moves: row.moves + 1, last: at }),
    ),
  ],
});
export const places: readonly PlacedView[] = [{ schema: 'stock', view: levels }];
export const applicationName = 'bench rebuild';

/** A log of so many events about so many articles, in partitions as the relay makes them. */
export async function fillLog(database: Database, events: number, articles: number): Promise<void> {
  await migrate(database, [jobMigrations, outboxMigrations, viewMigrations]);
  await database.transaction((tx) => extendLog(tx, events));
  await database.execute(sql`
    insert into plimsoll.event (position, id, type, version, key, at, correlation_id, caller, payload)
    select n, n, 'stock.received', 1, 'sku ' || (n * 7919::bigint) % ${articles}, now() + n * interval '1 ms', gen_random_uuid()::text, '{}',
      jsonb_build_object('sku', 'sku ' || (n * 7919::bigint) % ${articles}, 'count', n % 10, 'place', 'hall 7')
    from generate_series(1, ${events}) as n`);
  await database.execute(sql`update plimsoll.sequencer set position = ${events}`);
  await database.execute(sql`analyze plimsoll.event`);
}
