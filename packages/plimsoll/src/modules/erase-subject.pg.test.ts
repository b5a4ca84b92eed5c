import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { createDatabase } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { createContext } from '../kernel/context.ts';
import { insertEvents } from '../outbox/events.ts';
import { newEvent } from '../outbox/new-event.ts';
import { moveCommitted } from '../outbox/relay.ts';
import { recordSubscriptions } from '../outbox/subscriptions.ts';
import { untilIdle } from '../testing/until-idle.ts';
import { contract, event, type AnyEvent } from './contract.ts';
import { eraseSubject } from './erase-subject.ts';
import { module } from './module.ts';

/** Version 1 had one name. */
function fromWholeName(old: unknown): { id: string; first: string; email: string; plan: string } {
  const { name, ...rest } = old as { name: string; id: string; email: string; plan: string };
  return { ...rest, first: name.split(' ')[0] ?? '' };
}

// #region personal
const people = contract('people', {
  joined: event({
    payload: z.object({ id: z.string(), first: z.string().min(1), email: z.email(), plan: z.string() }),
    version: 2,
    upcast: { 1: fromWholeName },
    key: ({ id }) => id,
    personal: {
      subject: ({ id }) => id,
      erase: (payload) => ({ ...payload, first: 'erased', email: 'erased@example.invalid' }),
    },
  }),
  // #endregion
  renamed: event({
    payload: z.object({ id: z.string(), to: z.string().max(5) }),
    personal: { subject: ({ id }) => id, erase: (payload) => ({ ...payload, to: 'much too long' }) },
  }),
  counted: event({ payload: z.object({ n: z.number() }) }),
});
const declared: readonly AnyEvent[] = [people.joined, people.renamed, people.counted];

interface Seen {
  readonly position: number;
  readonly first: string;
  readonly erased: boolean;
}
const seen: Seen[] = [];
const thePlan = plan({
  name: 'erase-test',
  modules: [
    module(people, {
      owns: { schema: 'people' },
      on: (on) => [
        on(people.joined, { name: 'welcome', from: 'beginning' }, async ({ first }, { delivery }) => {
          seen.push({ position: delivery.position, first, erased: delivery.erased });
        }),
      ],
    }),
  ],
  worker: { pollMs: 20 },
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
});

let server: TestDatabase;
/** Migrated, and stopped: nothing moves or is delivered but by the test. */
let app: App;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(thePlan, { databaseUrl: server.url, listen: false });
  await app.start();
});
afterAll(async () => {
  await app.stop();
  await server.drop();
});
beforeEach(async () => {
  await untilIdle(app);
  await app.database.execute(
    sql`truncate plimsoll.event, plimsoll.inbox, plimsoll.erasure, plimsoll.log_reader`,
  );
  seen.length = 0;
});

const joined = (id: string, first = 'Ada'): Parameters<typeof insertEvents>[0][number] =>
  newEvent(createContext(), people.joined, { id, first, email: `${id}@example.com`, plan: 'gold' });
const emit = async (...events: Parameters<typeof insertEvents>[0]): Promise<void> => {
  await app.database.execute(insertEvents(events));
  await untilIdle(app);
};
const request = { subject: '7', by: 'grace', why: 'article 17' };
const log = (): Promise<{ position: number; type: string; version: number; payload: unknown }[]> =>
  app.database.query(sql`select position, type, version, payload from plimsoll.event order by position`);
const gone = { first: 'erased', email: 'erased@example.invalid' };

test('the data is out of the log; order, positions, keys and the events of others are as before', async () => {
  await emit(
    joined('7'),
    joined('8', 'Bob'),
    newEvent(createContext(), people.counted, { n: 1 }),
    joined('7'),
  );
  const before = await log();
  expect(await eraseSubject(app.database, declared, request)).toEqual({
    events: 2,
    deliveries: 0,
    jobs: 0,
    sagas: 0,
    answers: 0,
    left: [],
    complete: true,
  });
  expect(await log()).toEqual(
    before.map((entry, index) =>
      index === 0 || index === 3 ? { ...entry, payload: { id: '7', plan: 'gold', ...gone } } : entry,
    ),
  );
  expect(JSON.stringify(await app.database.query(sql`select * from plimsoll.event`))).not.toContain(
    '7@example',
  );
  expect(await app.database.query(sql`select subject, by, why, events from plimsoll.erasure`)).toEqual([
    { ...request, events: 2 },
  ]);
  // Once more finds nothing more.
  expect(await eraseSubject(app.database, declared, request)).toMatchObject({ events: 0, complete: true });
});

test('an event of an older version is upcast, erased, and read as ever', async () => {
  await emit({
    ...joined('7'),
    version: 1,
    payload: { id: '7', name: 'Ada Lovelace', email: 'ada@example.com', plan: 'gold' },
  });
  expect(seen).toMatchObject([{ first: 'Ada', erased: false }]);
  await eraseSubject(app.database, declared, request);
  expect(await log()).toMatchObject([{ version: 2, payload: { id: '7', plan: 'gold', ...gone } }]);
});

test('who subscribes later, from the beginning, gets valid payloads in order, and is told what was erased', async () => {
  await emit(joined('7'), joined('8', 'Bob'), joined('7'));
  await eraseSubject(app.database, declared, request);
  const positions = (await log()).map(({ position }) => position);
  seen.length = 0;
  await recordSubscriptions(app.database, [], ['people'], 0);
  await app.database.execute(sql`truncate plimsoll.inbox`);
  await recordSubscriptions(
    app.database,
    [
      {
        name: 'people.welcome',
        module: 'people',
        eventType: 'people.joined',
        maxAttempts: 1,
        from: 'beginning',
      },
    ],
    ['people'],
  );
  await expect.poll(() => seen.length, { timeout: 10_000 }).toBe(3);
  expect(seen.toSorted((one, other) => one.position - other.position)).toEqual([
    { position: positions[0], first: 'erased', erased: true },
    { position: positions[1], first: 'Bob', erased: false },
    { position: positions[2], first: 'erased', erased: true },
  ]);
});

test('deliveries that have not ended carry the erased payload', async () => {
  await app.drain();
  await app.stop();
  await using database = createDatabase({ url: server.url });
  await database.execute(insertEvents([joined('7'), joined('8', 'Bob')]));
  await moveCommitted(database, 10);
  expect(await eraseSubject(database, declared, request)).toMatchObject({ events: 1, deliveries: 1 });
  expect(
    await database.query(
      sql`select payload->'payload'->>'first' as first, payload->'erased' as erased from plimsoll.task order by (payload->>'position')::bigint`,
    ),
  ).toEqual([
    { first: 'erased', erased: true },
    { first: 'Bob', erased: null },
  ]);
  await app.start();
  await untilIdle(app);
  expect(
    seen.map(({ first, erased }) => ({ first, erased })).toSorted((a, b) => a.first.localeCompare(b.first)),
  ).toEqual([
    { first: 'Bob', erased: false },
    { first: 'erased', erased: true },
  ]);
});

test('an event that was written before and is committed after the erasure began is erased too', async () => {
  const session = await app.database.session();
  await session.execute(sql`begin`);
  await session.execute(insertEvents([joined('7')]));
  const erasing = eraseSubject(app.database, declared, request);
  // It waits for that transaction.
  const early = await Promise.race([
    erasing.then(() => 'ended'),
    app.database.query(sql`select pg_sleep(0.1)`).then(() => 'waits'),
  ]);
  expect(early).toBe('waits');
  await session.execute(sql`commit`);
  await session.close();
  expect(await erasing).toMatchObject({ events: 1, complete: true });
  expect(JSON.stringify(await log())).not.toContain('7@example');
});

test('a transaction that does not end in time is told', async () => {
  const session = await app.database.session();
  await session.execute(sql`begin`);
  await session.execute(insertEvents([joined('7')]));
  expect(await eraseSubject(app.database, declared, { ...request, timeoutMs: 50 })).toMatchObject({
    events: 0,
    complete: false,
  });
  await session.execute(sql`rollback`);
  await session.close();
});

test('what cannot be erased is left, counted and explained; the rest is done', async () => {
  await emit(
    joined('7'),
    newEvent(createContext(), people.renamed, { id: '7', to: 'Bea' }),
    { ...joined('7'), version: 9 },
    { ...joined('7'), type: 'people.forgotten' },
  ).catch(() => undefined);
  const erasure = await eraseSubject(app.database, declared, request);
  expect(erasure.events).toBe(1);
  expect(erasure.left.toSorted((one, other) => one.name.localeCompare(other.name))).toEqual([
    {
      kind: 'event',
      name: 'people.forgotten',
      version: 2,
      count: 1,
      why: expect.stringContaining('no contract') as string,
    },
    {
      kind: 'event',
      name: 'people.joined',
      version: 9,
      count: 1,
      why: expect.stringContaining('version 9') as string,
    },
    {
      kind: 'event',
      name: 'people.renamed',
      version: 1,
      count: 1,
      why: expect.stringContaining('to: ') as string,
    },
  ]);
});
