import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { background, type BackgroundMessage } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import { insertTasks, type NewTask } from './task.ts';
import { watchUnclaimed } from './unclaimed.ts';
import { createWorker } from './worker.ts';

let server: TestDatabase;
let database: Database;
let nowMs = 0;
const clock = { ...systemClock, monotonicMs: () => nowMs };
const messages: BackgroundMessage[] = [];
const stopListening = background.subscribe((message) => messages.push(message));

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  stopListening();
  await database?.close();
  await server?.drop();
});
beforeEach(async () => {
  messages.length = 0;
  await database.execute(sql`truncate plimsoll.task`);
});

/** Due for so long. */
const waiting = (name: string, dueMs: number): NewTask => ({
  id: randomUUID(),
  kind: 'job',
  name,
  payload: {},
  delayMs: -dueMs,
  maxAttempts: 3,
  correlationId: 'c',
  caller: {},
  causationId: undefined,
});
const told = (): unknown[] => messages.map(({ what, error }) => [what, (error as { code: string }).code]);

test('a name that nobody tries is told after a minute, once, with its number and what is handled here', async () => {
  await database.execute(
    insertTasks([waiting('bill.ordr', 61_000), waiting('bill.ordr', 90_000), waiting('bill.order', 90_000)]),
  );
  const look = watchUnclaimed(database, ['bill.order', 'mail.send'], clock);
  await look();
  nowMs += 59_999;
  await look();
  expect(told()).toEqual([]);
  nowMs += 1;
  await look();
  expect(told()).toEqual([['waiting tasks of bill.ordr', 'PL_UNKNOWN_OPERATION']]);
  expect(messages[0]).toMatchObject({
    scope: database.scope,
    error: { data: { name: 'bill.ordr', tasks: 2 } },
  });
  expect(String(messages[0]?.error)).toContain('bill.order, mail.send');
  nowMs += 60_000;
  await look();
  expect(told()).toHaveLength(1);
  await database.execute(insertTasks([waiting('another', 61_000)]));
  nowMs += 60_000;
  await look();
  expect(told()).toHaveLength(2);
});

test('what is young, tried, parked or under way elsewhere is not told', async () => {
  const names = ['young', 'tried', 'parked', 'running', 'running'];
  await database.execute(
    insertTasks(names.map((name) => waiting(name, name === 'young' ? 50_000 : 600_000))),
  );
  await database.execute(sql`update plimsoll.task set attempt = 1 where name = 'tried'`);
  await database.execute(sql`update plimsoll.task set state = 'parked' where name = 'parked'`);
  await database.execute(sql`
    update plimsoll.task set state = 'running', worker = 7
    where id = (select id from plimsoll.task where name = 'running' limit 1)`);
  const look = watchUnclaimed(database, [], clock);
  nowMs += 60_000;
  await look();
  expect(told()).toEqual([]);
});

test('a worker looks while it runs', async () => {
  await database.execute(insertTasks([waiting('nobodys', 61_000)]));
  const worker = createWorker({ database, handlers: new Map(), pollMs: 10, clock });
  await worker.start();
  try {
    nowMs += 60_000;
    await expect
      .poll(told, { timeout: 10_000 })
      .toEqual([['waiting tasks of nobodys', 'PL_UNKNOWN_OPERATION']]);
  } finally {
    await worker.stop();
  }
});
