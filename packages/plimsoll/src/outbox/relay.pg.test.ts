import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { migrationsOf } from '../app/migrations.ts';
import { stress } from '../testing/stress.ts';
import { insertEvents, type NewEvent } from './events.ts';
import { logPartitions } from './partitions.ts';
import { createRelay, moveCommitted } from './relay.ts';

const happened = (key: string): NewEvent => ({
  type: 'test.happened',
  version: 1,
  key,
  correlationId: 'c',
  causationId: undefined,
  caller: {},
  payload: { key },
});

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url, pool: { max: 12 } });
  await migrate(database, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  await database.close();
  await server.drop();
});
beforeEach(async () => {
  await database.execute(
    sql`truncate plimsoll.outbox, plimsoll.event, plimsoll.task, plimsoll.subscription, plimsoll.inbox`,
  );
  await database.execute(sql`update plimsoll.sequencer set position = 0`);
  await database.execute(sql`
    insert into plimsoll.subscription (name, module, event_type, max_attempts, live_from)
    values ('a.first', 'a', 'test.happened', 3, 1), ('b.second', 'b', 'test.happened', 3, 1), ('b.other', 'b', 'test.never', 3, 1)`);
});

const log = (): Promise<{ position: number; key: string }[]> =>
  database.query(sql`select position, key from plimsoll.event order by position`);
const deliveries = (): Promise<{ name: string; keys: string[] }[]> =>
  database.query(
    sql`select name, array_agg(payload->>'key' order by payload->>'key') as keys from plimsoll.task group by name order by name`,
  );

/** A transaction that stays open until told to commit. */
async function openTransaction(
  write: (tx: Transaction) => Promise<unknown>,
): Promise<{ commit: () => Promise<void> }> {
  const opened = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const done = database.transaction(async (tx) => {
    await write(tx);
    opened.resolve();
    await release.promise;
  });
  await opened.promise;
  return {
    commit: async () => {
      release.resolve();
      await done;
    },
  };
}

describe('the relay', () => {
  test('an event that commits after later ones were moved is moved late, not skipped', async () => {
    const early = await openTransaction((tx) => tx.execute(insertEvents([happened('early')])));
    await database.execute(insertEvents([happened('late')]));
    expect(await moveCommitted(database, 100)).toBe(1);
    await early.commit();
    expect(await moveCommitted(database, 100)).toBe(1);
    expect(await log()).toEqual([
      { position: 1, key: 'late' },
      { position: 2, key: 'early' },
    ]);
    expect(await deliveries()).toEqual([
      { name: 'a.first', keys: ['early', 'late'] },
      { name: 'b.second', keys: ['early', 'late'] },
    ]);
  });

  test('a rolled back event never appears, and leaves no hole', async () => {
    await database.execute(insertEvents([happened('one')]));
    await database
      .transaction(async (tx) => {
        await tx.execute(insertEvents([happened('never')]));
        throw new Error('no');
      })
      .catch(() => undefined);
    await database.execute(insertEvents([happened('two')]));
    await moveCommitted(database, 100);
    expect(await log()).toEqual([
      { position: 1, key: 'one' },
      { position: 2, key: 'two' },
    ]);
  });

  test('a relay that finds another one at work leaves at once', async () => {
    await database.execute(insertEvents([happened('x')]));
    const other = await openTransaction((tx) => tx.query(sql`select 1 from plimsoll.sequencer for update`));
    expect(await moveCommitted(database, 100)).toBe(0);
    await other.commit();
    expect(await moveCommitted(database, 100)).toBe(1);
  });

  test('events of one transaction keep their order', async () => {
    const keys = Array.from({ length: 50 }, (_, index) => `k${index}`);
    await database.execute(insertEvents(keys.map((key) => happened(key))));
    // Batches smaller than the transaction.
    while ((await moveCommitted(database, 7)) > 0);
    expect((await log()).map((event) => event.key)).toEqual(keys);
  });

  test('whatever commits, in whatever order, under several relays: each event once, positions dense', async () => {
    const transactions = fc.array(
      fc.record({
        events: fc.integer({ min: 1, max: 3 }),
        commits: fc.boolean(),
        hold: fc.integer({ min: 0, max: 4 }),
      }),
      { minLength: 1, maxLength: 12 },
    );
    let run = 0;
    await fc.assert(
      fc.asyncProperty(transactions, async (plans) => {
        run += 1;
        for (const table of ['outbox', 'event', 'task'])
          await database.execute(sql`delete from ${sql.id('plimsoll', table)}`);
        await database.execute(sql`update plimsoll.sequencer set position = 0`);
        const relays = [1, 2].map(() =>
          createRelay({ database, subscriptions: [], modules: [], pollMs: 1, batch: 2 }),
        );
        await Promise.all(relays.map((relay) => relay.start()));
        const expected: string[] = [];
        try {
          await Promise.all(
            plans.map(async (plan, index) => {
              const keys = Array.from({ length: plan.events }, (_, event) => `${run}.${index}.${event}`);
              if (plan.commits) expected.push(...keys);
              await database
                .transaction(async (tx) => {
                  await tx.execute(insertEvents(keys.map((key) => happened(key))));
                  // Holds the transaction open for some round trips, so that commits overtake one another.
                  for (let turn = 0; turn < plan.hold; turn += 1) await tx.query(sql`select pg_sleep(0.002)`);
                  if (!plan.commits) throw new Error('rolled back');
                })
                .catch(() => undefined);
            }),
          );
          await expect.poll(async () => (await log()).length, { timeout: 5_000 }).toBe(expected.length);
        } finally {
          await Promise.all(relays.map((relay) => relay.stop()));
        }
        const events = await log();
        expect(events.map((event) => event.position)).toEqual(events.map((_, index) => index + 1));
        expect(events.map((event) => event.key).toSorted()).toEqual(expected.toSorted());
        for (const { keys } of await deliveries()) expect(keys).toEqual(expected.toSorted());
      }),
      { numRuns: 25 },
    );
  });

  test('an event of a transaction that was open for longer than the relay looks back is found', async () => {
    let nowMs = 0;
    const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
    const relay = createRelay({ database, subscriptions: [], modules: [], pollMs: 2, clock });
    const early = await openTransaction((tx) => tx.execute(insertEvents([happened('early')])));
    await relay.start();
    try {
      for (let turn = 1; turn <= 20; turn += 1) {
        nowMs += 1_000;
        await database.execute(insertEvents([happened(`later ${turn}`)]));
        await expect.poll(async () => (await log()).length, { interval: 2 }).toBe(turn);
      }
      await early.commit();
      nowMs += 5_000;
      await expect.poll(async () => (await log()).at(-1)?.key, { interval: 2 }).toBe('early');
    } finally {
      await relay.stop();
    }
  });

  test('starts and stops in every awkward way', async () => {
    await stress(createRelay({ database, subscriptions: [], modules: [] }));
  });

  test('a start records the subscriptions of its own modules, and forgets those that nobody has listed for long', async () => {
    await database.execute(
      sql`update plimsoll.subscription set listed_at = now() - interval '11 minutes' where name in ('a.first', 'b.other')`,
    );
    const relay = createRelay({
      database,
      modules: ['b'],
      subscriptions: [{ name: 'b.third', module: 'b', eventType: 'test.happened', maxAttempts: 5 }],
    });
    await relay.start();
    await relay.stop();
    expect(await database.query(sql`select name from plimsoll.subscription order by name`)).toEqual([
      { name: 'a.first' },
      // Another process may have it still: during a deploy, say.
      { name: 'b.second' },
      { name: 'b.third' },
    ]);
  });

  test('a relay drops what is old by itself', async () => {
    const { low, high } = (await logPartitions(database))[0]!;
    expect(low).toBe(1);
    await database.execute(sql`
      insert into plimsoll.event (position, id, type, version, at, correlation_id, caller, payload)
      values (${high - 1}, 0, 'test.happened', 1, now() - interval '3 days', 'c', '{}', '{}')`);
    const relay = createRelay({ database, subscriptions: [], modules: [], retainMs: 2 * 86_400_000 });
    await relay.start();
    try {
      await expect
        .poll(async () => (await logPartitions(database))[0]?.low, { timeout: 10_000 })
        .not.toBe(low);
    } finally {
      await relay.stop();
    }
  });
});
