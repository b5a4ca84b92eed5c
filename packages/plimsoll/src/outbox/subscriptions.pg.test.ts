import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { queries } from '../kernel/channels.ts';
import { sql } from '../database/sql.ts';
import { catchUp } from './catch-up.ts';
import { insertEvents } from './events.ts';
import type { FeedLimits } from './feed.ts';
import { createRelay, moveCommitted } from './relay.ts';
import { recordSubscriptions, type StartFrom, type SubscriptionRecord } from './subscriptions.ts';

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
const reset = async (): Promise<void> => {
  // Of few rows faster than to truncate, with so many indexes.
  for (const table of ['outbox', 'event', 'task', 'subscription', 'inbox', 'log_reader'])
    await database.execute(sql`delete from ${sql.id('plimsoll', table)}`);
  await database.execute(sql`update plimsoll.sequencer set position = 0`);
};
beforeEach(reset);

const small: FeedLimits = { batch: 3, stretch: 5, backlog: 1_000 };

const emit = (type: string, count: number): Promise<number> =>
  database.execute(
    insertEvents(
      Array.from({ length: count }, (_, n) => ({
        type,
        version: 1,
        key: `k${n % 3}`,
        correlationId: 'c',
        caller: {},
        payload: { n },
      })),
    ),
  );
const subscription = (name: string, from: StartFrom, eventType = 'test.a'): SubscriptionRecord => ({
  name: `m.${name}`,
  module: 'm',
  eventType,
  maxAttempts: 3,
  from,
});
const record = (...subscriptions: readonly SubscriptionRecord[]): Promise<void> =>
  recordSubscriptions(database, subscriptions, ['m']);
/** What was delivered to whom, in the order in which it was written. */
const delivered = async (name: string): Promise<number[]> =>
  (
    await database.query<{ position: number }>(
      sql`select (payload->>'position')::bigint as position from plimsoll.task where name = ${`m.${name}`} order by seq`,
    )
  ).map(({ position }) => position);
const settle = async (limits: FeedLimits = small): Promise<void> => {
  while ((await moveCommitted(database, limits.batch)) > 0);
  while (await catchUp(database, limits));
};

describe('a subscription that was not there before', () => {
  beforeEach(async () => {
    await emit('test.a', 4);
    await emit('test.b', 2);
    await emit('test.a', 4);
    await settle();
  });

  test.each<[string, StartFrom, number[]]>([
    ['now', 'now', [11]],
    ['beginning', 'beginning', [1, 2, 3, 4, 7, 8, 9, 10, 11]],
    ['a position', { position: 8 }, [8, 9, 10, 11]],
    ['a position that is not there yet', { position: 1_000 }, [11]],
    ['a time', { time: '2026-01-01T09:00:00Z' }, [9, 10, 11]],
    ['a time, as a date', { time: new Date('2026-01-01T08:59:00Z') }, [9, 10, 11]],
    ['a time to come', { time: '2100-01-01T00:00:00Z' }, [11]],
  ])('from %s', async (_what, from, expected) => {
    // A time is one of the server, whatever zone its sessions have.
    await database.execute(
      sql`update plimsoll.event set at = timestamptz '2026-01-01T00:00:00Z' + position * interval '1 hour'`,
    );
    await record(subscription('new', from));
    await emit('test.a', 1);
    await settle();
    expect(await delivered('new')).toEqual(expected);
    expect(
      await database.query(sql`select live_from from plimsoll.subscription where live_from is null`),
    ).toEqual([]);
    expect(await database.query(sql`select 1 from plimsoll.log_reader`)).toEqual([]);
  });

  test('from a time, looks through the log before it holds up those who give positions; what came meanwhile counts', async () => {
    const time = '2026-01-01T00:00:00Z';
    await database.execute(sql`update plimsoll.event set at = timestamptz '2025-01-01'`);
    const texts: string[] = [];
    const stop = queries.subscribe(({ scope, text }) => void (scope === database.scope && texts.push(text)));
    const session = await database.session();
    await session.execute(sql`begin`);
    await session.execute(sql`update plimsoll.sequencer set position = 12`);
    const recording = record(subscription('new', { time }));
    const waiting = sql`select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await expect.poll(() => session.one(waiting), { timeout: 10_000 }).toEqual({ n: 1 });
    await session.execute(sql`
      insert into plimsoll.event (position, id, type, version, at, correlation_id, caller, payload)
      values (11, 1011, 'test.a', 1, '2025-02-01', 'c', '{}', '{}'), (12, 1012, 'test.a', 1, ${time}, 'c', '{}', '{}')`);
    await session.execute(sql`commit`);
    await session.close();
    await recording;
    const held = texts.findIndex((text) => text.includes('plimsoll.sequencer for update'));
    const looks = texts
      .map((text, index) => ({ text, index }))
      .filter(({ text }) => text.includes('min(position)'));
    expect(looks.map(({ text, index }) => [index > held, text.includes('position >')])).toEqual([
      [false, false],
      [true, true],
    ]);
    await settle();
    expect(await delivered('new')).toEqual([12]);
    // What it finds needs no second look.
    texts.length = 0;
    await record(subscription('other', { time }));
    expect(texts.filter((text) => text.includes('min(position)'))).toHaveLength(1);
    stop();
  });

  test('is not started again when it is recorded again', async () => {
    await record(subscription('new', 'beginning'));
    await settle();
    await record(subscription('new', 'beginning'));
    await settle();
    expect(await delivered('new')).toEqual([1, 2, 3, 4, 7, 8, 9, 10]);
  });

  test('that is dropped while it catches up keeps nothing in the log', async () => {
    await record(subscription('new', 'beginning'));
    await recordSubscriptions(database, [], ['m'], 0);
    expect(await database.query(sql`select 1 from plimsoll.log_reader`)).toEqual([]);
  });

  test('is given no more than it can take, and the live ones do not wait for it', async () => {
    await record(subscription('new', 'beginning'), subscription('live', 'now'));
    const limits = { ...small, backlog: 3 };
    while (await catchUp(database, limits));
    expect(await delivered('new')).toHaveLength(3);
    await emit('test.a', 2);
    while ((await moveCommitted(database, 3)) > 0);
    expect(await delivered('live')).toEqual([11, 12]);
    await database.execute(sql`delete from plimsoll.task where name = 'm.new'`);
    while (await catchUp(database, limits));
    expect(await delivered('new')).toEqual([4, 7, 8]);
  });

  test('a relay catches it up by itself, and so do two at once', async () => {
    const relays = [1, 2].map(() =>
      createRelay({
        database,
        modules: ['m'],
        subscriptions: [subscription('new', 'beginning')],
        pollMs: 5,
        batch: 2,
      }),
    );
    try {
      await Promise.all(relays.map((relay) => relay.start()));
      await emit('test.a', 3);
      await expect.poll(() => delivered('new'), { timeout: 10_000 }).toHaveLength(11);
    } finally {
      await Promise.all(relays.map((relay) => relay.stop()));
    }
    expect((await delivered('new')).toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13]);
  });
});

type Step =
  | { readonly do: 'emit'; readonly type: string; readonly count: number }
  | { readonly do: 'move' | 'catch up' | 'move and catch up at once' }
  | {
      readonly do: 'subscribe';
      readonly type: string;
      readonly from: Exclude<StartFrom, { readonly time: unknown }>;
    };

test('wherever and whenever subscriptions begin: each event from there on once, in the order of the log', async () => {
  const type = fc.constantFrom('test.a', 'test.b');
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ do: fc.constant('emit' as const), type, count: fc.integer({ min: 1, max: 9 }) }),
    fc.record({
      do: fc.constantFrom('move' as const, 'catch up' as const, 'move and catch up at once' as const),
    }),
    fc.record({
      do: fc.constant('subscribe' as const),
      type,
      from: fc.oneof(
        fc.constantFrom('now' as const, 'beginning' as const),
        fc.record({ position: fc.integer({ min: 1, max: 40 }) }),
      ),
    }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30, size: 'max' }), async (steps) => {
      await reset();
      const recorded: SubscriptionRecord[] = [];
      const begins = new Map<string, number>();
      for (const each of steps) {
        if (each.do === 'emit') await emit(each.type, each.count);
        if (each.do === 'move') await moveCommitted(database, small.batch);
        if (each.do === 'catch up') await catchUp(database, small);
        if (each.do === 'move and catch up at once')
          await Promise.all([
            moveCommitted(database, small.batch),
            catchUp(database, small),
            catchUp(database, small),
          ]);
        if (each.do === 'subscribe') {
          const name = `s${recorded.length}`;
          const { position } = await database.one<{ position: number }>(
            sql`select position from plimsoll.sequencer`,
          );
          const { from } = each;
          begins.set(
            name,
            from === 'now' ? position + 1 : from === 'beginning' ? 1 : Math.min(from.position, position + 1),
          );
          recorded.push(subscription(name, from, each.type));
          await record(...recorded);
        }
      }
      await settle();
      const log = await database.query<{ position: number; type: string }>(
        sql`select position, type from plimsoll.event order by position`,
      );
      for (const { name, eventType } of recorded) {
        const own = name.slice(2);
        expect(await delivered(own)).toEqual(
          log
            .filter((event) => event.type === eventType && event.position >= begins.get(own)!)
            .map(({ position }) => position),
        );
      }
    }),
    { numRuns: 25 },
  );
});
