import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { insertEvents, insertInbox, type NewEvent } from './events.ts';
import { dropExpired, extendLog, logPartitions, partitionDefaults } from './partitions.ts';
import { moveCommitted } from './relay.ts';

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  await database.close();
  await server.drop();
});
beforeEach(async () => {
  for (const { low } of await logPartitions(database))
    await database.execute(
      sql`drop table ${sql.id('plimsoll', `event_${low}`)}, ${sql.id('plimsoll', `inbox_${low}`)}`,
    );
  await database.execute(sql`truncate plimsoll.outbox, plimsoll.inbox, plimsoll.log_reader`);
  await database.execute(sql`update plimsoll.sequencer set position = 0, partitioned_to = 1`);
});

const { least } = partitionDefaults;
const happened = (n: number): NewEvent => ({
  type: 'test.happened',
  version: 1,
  key: `k${n}`,
  correlationId: 'c',
  caller: {},
  payload: { n },
});
const emit = (count: number): Promise<number> =>
  database.execute(insertEvents(Array.from({ length: count }, (_, n) => happened(n))));
const moveAll = async (batch = 1_000): Promise<void> => {
  while ((await moveCommitted(database, batch)) > 0);
};
/** Gives positions up to `last` without events, as if they had been dropped. */
const skipTo = (last: number): Promise<number> =>
  database.execute(sql`update plimsoll.sequencer set position = ${last}`);
const positions = async (): Promise<number[]> =>
  (
    await database.query<{ position: number }>(sql`select position from plimsoll.event order by position`)
  ).map(({ position }) => position);
const age = (days: number): Promise<number> =>
  database.execute(sql`update plimsoll.event set at = now() - ${days}::int * interval '1 day'`);
const day = 86_400_000;

test('events go on across the end of a partition, and the positions stay dense', async () => {
  await emit(3);
  await moveAll();
  await skipTo(least - 20);
  await emit(50);
  await moveAll(15);
  expect(await positions()).toEqual([1, 2, 3, ...Array.from({ length: 50 }, (_, n) => least - 19 + n)]);
  const parts = await logPartitions(database);
  expect(parts[0]).toEqual({ low: 1, high: least + 1 });
  expect(parts[1]!.low).toBe(least + 1);
  expect(
    await database.one(sql`select count(*)::int as n from ${sql.id('plimsoll', `event_${least + 1}`)}`),
  ).toEqual({ n: 30 });
});

test('an id is refused a second time within a partition', async () => {
  await emit(1);
  await moveAll();
  await expect(
    database.execute(sql`
      insert into plimsoll.event select 2, id, type, version, key, subject, at, correlation_id, causation_id, caller, payload
      from plimsoll.event`),
  ).rejects.toMatchObject({ code: '23505' });
});

test('what is old goes by whole partitions, the log and the inbox together', async () => {
  await emit(2);
  await moveAll();
  await skipTo(least - 1);
  await emit(4);
  await moveAll();
  await database.execute(insertInbox('a.sub', { position: 1 }));
  await database.execute(insertInbox('a.sub', { position: least + 1 }));
  expect(await dropExpired(database, 30 * day)).toBe(0);
  await age(31);
  expect(await dropExpired(database, 30 * day)).toBe(1);
  // The rest are old too, but their partition is not full yet.
  expect(await positions()).toEqual([least + 1, least + 2, least + 3]);
  expect(await database.query(sql`select position from plimsoll.inbox`)).toEqual([{ position: least + 1 }]);
  // A delivery that ends later than its event: noted once, as ever.
  expect(await database.execute(insertInbox('a.sub', { position: 7 }))).toBe(1);
  expect(await database.execute(insertInbox('a.sub', { position: 7 }))).toBe(0);
});

test('a reader keeps what it has not read, and lets go when it has passed', async () => {
  await emit(1);
  await moveAll();
  await skipTo(least - 1);
  await emit(2);
  await moveAll();
  await age(31);
  await database.execute(sql`insert into plimsoll.log_reader (name, position) values ('view', ${least - 1})`);
  expect(await dropExpired(database, 30 * day)).toBe(0);
  await database.execute(sql`update plimsoll.log_reader set position = ${least}`);
  expect(await dropExpired(database, 30 * day)).toBe(1);
});

test('a partition that somebody reads is left for the next time, and nobody waits for long', async () => {
  await emit(1);
  await moveAll();
  await skipTo(least - 1);
  await emit(2);
  await moveAll();
  await age(31);
  await database.transaction(async (tx) => {
    await tx.query(sql`select 1 from plimsoll.event limit 1`);
    expect(await dropExpired(database, 30 * day)).toBe(0);
  });
  expect(await dropExpired(database, 30 * day)).toBe(1);
});

test('two relays that need a partition at once make one', async () => {
  await Promise.all([1, 2, 3].map(() => database.transaction((tx) => extendLog(tx, 3 * least))));
  const parts = await logPartitions(database);
  expect(parts[0]!.low).toBe(1);
  for (const [index, { high }] of parts.entries())
    expect(parts[index + 1]?.low ?? 3 * least + 1).toBeLessThanOrEqual(high);
  expect(parts.at(-1)!.high).toBeGreaterThan(3 * least);
});
