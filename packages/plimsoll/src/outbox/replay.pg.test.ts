import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import type { Loop } from '../durable/loop.ts';
import { createWorker } from '../durable/worker.ts';
import { deliveryHandler } from './delivery-handler.ts';
import type { EventFilter } from './event-filter.ts';
import { insertEvents } from './events.ts';
import { createRelay, moveCommitted } from './relay.ts';
import { countReplay, replayOnce, replays, replayState, startReplay, stopReplay } from './replay.ts';
import { recordSubscriptions } from './subscriptions.ts';

let server: TestDatabase;
let database: Database;
let worker: Loop;

const subscription = { name: 'm.note', module: 'm', eventType: 'test.a', maxAttempts: 3 };

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url, pool: { max: 12 } });
  await migrate(database, migrationsOf({ modules: [] }));
  await database.execute(sql`create table effect (position bigint not null, replay bigint)`);
  const note = deliveryHandler(database, async (_payload, { tx, event: { position, replay } }) => {
    await tx.execute(sql`insert into effect values (${position}, ${replay ?? null})`);
  });
  worker = createWorker({ database, handlers: new Map([['m.note', note]]), pollMs: 10 });
  await worker.start();
});
afterAll(async () => {
  await worker.stop();
  await database.close();
  await server.drop();
});
beforeEach(async () => {
  await expect.poll(tasks, { timeout: 10_000 }).toBe(0);
  await database.execute(
    sql`truncate plimsoll.outbox, plimsoll.event, plimsoll.subscription, plimsoll.inbox, plimsoll.log_reader, plimsoll.replay, effect`,
  );
  await database.execute(sql`update plimsoll.sequencer set position = 0`);
  await recordSubscriptions(database, [subscription], ['m']);
  const event = (type: string, n: number): Parameters<typeof insertEvents>[0][number] => ({
    type,
    version: 1,
    key: `k${n % 2}`,
    correlationId: `c${n}`,
    caller: {},
    payload: {},
  });
  await database.execute(
    insertEvents([1, 2, 3, 4, 5, 6].flatMap((n) => [event('test.a', n), event('test.b', n)])),
  );
  await moveCommitted(database, 100);
  await expect.poll(tasks, { timeout: 10_000 }).toBe(0);
  await database.execute(sql`truncate effect`);
});

const tasks = async (): Promise<number> =>
  (await database.one<{ n: number }>(sql`select count(*)::int as n from plimsoll.task`)).n;
const effects = async (): Promise<number[]> => {
  await expect.poll(tasks, { timeout: 10_000 }).toBe(0);
  const rows = await database.query<{ position: number }>(sql`select position from effect order by position`);
  return rows.map(({ position }) => position);
};
const request = (filter: EventFilter = {}): Parameters<typeof startReplay>[1] => ({
  subscription: 'm.note',
  filter,
  by: 'ada',
  why: 'the mail server had lost them',
});
const limits = { batch: 2, stretch: 3, backlog: 100 };
const run = async (id: number): Promise<void> => {
  while ((await replayOnce(database, id, limits)) === 'more');
};

test.each<[string, EventFilter, number[]]>([
  ['everything', {}, [1, 3, 5, 7, 9, 11]],
  ['by type', { type: 'test.a' }, [1, 3, 5, 7, 9, 11]],
  ['by key', { key: 'k0' }, [3, 7, 11]],
  ['by correlation', { correlationId: 'c2' }, [3]],
  ['by position', { fromPosition: 3, toPosition: 9 }, [3, 5, 7, 9]],
  ['by key and position', { key: 'k1', fromPosition: 2 }, [5, 9]],
  ['by time', { since: '2026-01-01T05:00:00Z', before: '2026-01-01T09:00:00Z' }, [5, 7]],
  ['nothing', { key: 'nobody' }, []],
])('%s is brought again, with its effect, once', async (_what, filter, expected) => {
  await database.execute(
    sql`update plimsoll.event set at = timestamptz '2026-01-01T00:00:00Z' + position * interval '1 hour'`,
  );
  expect(await countReplay(database, request(filter))).toBe(expected.length);
  const { id } = await startReplay(database, request(filter));
  await run(id);
  expect(await effects()).toEqual(expected);
  expect(await replayState(database, id)).toMatchObject({
    delivered: expected.length,
    by: 'ada',
    why: 'the mail server had lost them',
    endedAt: expect.any(String) as string,
  });
  expect(await database.query(sql`select 1 from plimsoll.log_reader`)).toEqual([]);
});

test('each replay is an effect of its own, and the handler knows which', async () => {
  for (const turn of [1, 2]) {
    const { id } = await startReplay(database, request({ correlationId: 'c1' }));
    await run(id);
    expect(await effects()).toEqual(Array.from({ length: turn }, () => 1));
  }
  const [newest, older] = await replays(database);
  expect(await database.query(sql`select replay from effect order by replay`)).toEqual([
    { replay: older!.id },
    { replay: newest!.id },
  ]);
});

test('a relay goes on with a replay that its caller has left, while others call it too', async () => {
  const { id } = await startReplay(database, request());
  await replayOnce(database, id, limits);
  const relay = createRelay({ database, modules: [], subscriptions: [], pollMs: 5, batch: 1 });
  await relay.start();
  try {
    await Promise.all([run(id), run(id)]);
    await expect.poll(async () => (await replayState(database, id)).endedAt).not.toBeNull();
  } finally {
    await relay.stop();
  }
  expect(await effects()).toEqual([1, 3, 5, 7, 9, 11]);
});

test('events that come after the request are delivered as they happen, and not by the replay', async () => {
  const { id } = await startReplay(database, request());
  await database.execute(
    insertEvents([{ type: 'test.a', version: 1, correlationId: 'new', caller: {}, payload: {} }]),
  );
  await moveCommitted(database, 10);
  await run(id);
  expect(await effects()).toEqual([1, 3, 5, 7, 9, 11, 13]);
});

test('one that is stopped brings no more', async () => {
  const { id } = await startReplay(database, request());
  await replayOnce(database, id, limits);
  expect(await stopReplay(database, id)).toBe(true);
  expect(await stopReplay(database, id)).toBe(false);
  expect(await replayOnce(database, id, limits)).toBe('ended');
  expect(await effects()).toEqual([1, 3]);
});

test('what cannot be is refused, with what is there instead', async () => {
  await expect(startReplay(database, { ...request(), subscription: 'm.nope' })).rejects.toMatchObject({
    code: 'PL_SUBSCRIPTION_UNKNOWN',
    message: expect.stringContaining('m.note') as string,
  });
  await expect(startReplay(database, request({ type: 'test.b' }))).rejects.toMatchObject({
    code: 'PL_REPLAY_REFUSED',
  });
  await recordSubscriptions(
    database,
    [subscription, { ...subscription, name: 'm.late', from: 'beginning' }],
    ['m'],
  );
  await expect(startReplay(database, { ...request(), subscription: 'm.late' })).rejects.toMatchObject({
    code: 'PL_REPLAY_REFUSED',
    message: expect.stringContaining('caught up') as string,
  });
});
