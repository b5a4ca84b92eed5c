import { randomUUID } from 'node:crypto';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { setLimits } from './limits.ts';
import { claimedBy, completeTask, insertTasks, type NewTask } from './task.ts';
import { createWorker, type Reservation, type Worker } from './worker.ts';

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
  await database.execute(sql`delete from plimsoll.task`);
});

const task = (name = 'work'): NewTask => ({
  id: randomUUID(),
  kind: 'job',
  name,
  payload: {},
  delayMs: 0,
  maxAttempts: 3,
  correlationId: 'c',
  causationId: undefined,
  caller: {},
});

interface Started {
  readonly worker: Worker;
  /** Ids of tasks that run, each with its attempt. */
  readonly began: string[];
  readonly release: () => void;
}

/** Two slots; tasks end when they are let go. */
async function start(): Promise<Started & AsyncDisposable> {
  const began: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const worker = createWorker({
    database,
    concurrency: 2,
    pollMs: 10,
    reclaimMs: 20,
    handlers: new Map([
      [
        'work',
        async (claimed) => {
          began.push(`${claimed.id} ${claimed.attempt}`);
          await promise;
          await database.execute(completeTask(claimed));
        },
      ],
    ]),
  });
  await worker.start();
  return {
    worker,
    began,
    release: resolve,
    async [Symbol.asyncDispose]() {
      resolve();
      await worker.stop();
    },
  };
}

/** Once a look has found nothing unclaimed. */
async function reserve({ worker }: Started): Promise<Reservation> {
  let found: Reservation | undefined;
  await expect.poll(() => (found ??= worker.reserve('work')) !== undefined, { timeout: 5_000 }).toBe(true);
  if (found === undefined) throw new Error('no slot');
  return found;
}
const left = (): Promise<object[]> => database.query(sql`select state, attempt from plimsoll.task`);

test('a task that is written as running here runs without a claim, and ends as any other', async () => {
  await using running = await start();
  const place = await reserve(running);
  const one = task();
  await database.execute(insertTasks([{ ...one, worker: place.worker }]));
  expect(await left()).toEqual([{ state: 'running', attempt: 1 }]);
  place.begin(claimedBy(one, place.worker));
  expect(running.began).toEqual([`${one.id} 1`]);
  running.release();
  await expect.poll(left, { timeout: 5_000 }).toEqual([]);
});

test('nothing is reserved where tasks wait, where there are limits, or when the worker stops', async () => {
  const running = await start();
  await using _ = running;
  const [first, second] = [await reserve(running), await reserve(running)];
  expect(running.worker.reserve('work')).toBeUndefined();
  // It waits for a slot: who comes later must not pass it.
  const waiting = task();
  await database.execute(insertTasks([waiting]));
  running.worker.announce();
  first.rolledBack();
  await expect.poll(() => running.began, { timeout: 5_000 }).toEqual([`${waiting.id} 1`]);
  second.rolledBack();
  await database.execute(setLimits('work', { concurrency: 1 }));
  const isRefused = (): boolean => {
    const place = running.worker.reserve('work');
    place?.rolledBack();
    return place === undefined;
  };
  await expect.poll(isRefused, { timeout: 5_000 }).toBe(true);
  await database.execute(sql`delete from plimsoll.task_queue`);
  await expect.poll(isRefused, { timeout: 5_000 }).toBe(false);
  running.release();
  await running.worker.stop();
  expect(running.worker.reserve('work')).toBeUndefined();
});

test('a task whose COMMIT was not answered, and came about later, is given back and run', async () => {
  await using running = await start();
  const place = await reserve(running);
  const one = task();
  const late = Promise.withResolvers<void>();
  const written = database.transaction(async (tx) => {
    await tx.execute(insertTasks([{ ...one, worker: place.worker }]));
    await late.promise;
  });
  place.unknown(claimedBy(one, place.worker));
  late.resolve();
  await written;
  await expect.poll(() => running.began, { timeout: 5_000 }).toEqual([`${one.id} 1`]);
});
