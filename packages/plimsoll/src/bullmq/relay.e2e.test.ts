import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, inject, test, type TestContext } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { claimDue } from '../durable/claim.ts';
import { jobMigrations } from '../durable/migrations.ts';
import { newTaskId } from '../durable/task-id.ts';
import { insertTasks, type ClaimedTask } from '../durable/task.ts';
import { createWorker, type Worker } from '../durable/worker.ts';
import { newJob, type JobOptions } from '../jobs/job.ts';
import type { JobTry } from '../jobs/running-job.ts';
import { createContext } from '../kernel/context.ts';
import { noRedis, startRedis, type PrivateRedis } from '../redis/fixtures/redis-server.ts';
import { createBullmqJobs, type BullmqJobs } from './create-bullmq-jobs.ts';

const name = 'mails.send';
const soon = { timeout: 20_000, interval: 10 };
let redis: PrivateRedis | undefined;
let client: Redis;
let server: TestDatabase;
let database: Database;
let jobs: BullmqJobs;
let tries: JobTry[] = [];
const running: { stop(): Promise<void> }[] = [];

beforeAll(async () => {
  if (noRedis !== undefined) return;
  redis = await startRedis();
  client = new Redis(redis.url, { maxRetriesPerRequest: null, retryStrategy: () => 20 });
  client.on('error', () => undefined);
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [jobMigrations]);
});
afterAll(async () => {
  await database?.close();
  await server?.drop();
  client?.disconnect();
  await redis?.stop();
});
beforeEach(async (ctx: TestContext) => {
  if (redis === undefined) ctx.skip(noRedis);
  await client.flushall();
  await database.execute(sql`truncate plimsoll.task`);
  tries = [];
  jobs = createBullmqJobs({ connection: client, names: [name], database, answerMs: 300 });
  return async () => {
    for (const each of running.splice(0)) await each.stop();
    await jobs.close();
  };
});

async function startRelay(): Promise<Worker> {
  const worker = createWorker({
    database,
    handlers: new Map([[name, jobs.relay(database)]]),
    pollMs: 20,
    backoff: { baseMs: 1, maxMs: 2 },
  });
  running.push(worker);
  await worker.start();
  return worker;
}

async function startWorker(): Promise<void> {
  const run = async (_input: unknown, { task }: { readonly task: JobTry }): Promise<string> => {
    tries.push(task);
    return 'sent';
  };
  const worker = jobs.work(new Map([[name, run]]));
  running.push(worker);
  await worker.start();
}

const job = (input: unknown, options: JobOptions = {}): ReturnType<typeof newJob> =>
  newJob(createContext({ correlationId: 'request-7', causationId: 'event:1', caller: { tenant: 't' } }), {
    id: newTaskId(),
    name,
    input,
    ...options,
  });
const left = (): Promise<unknown[]> =>
  database.query(sql`select state, attempt, last_error->>'code' as code from plimsoll.task`);

test('a job of a transaction is in Redis when that has committed, with its id and context, and never otherwise', async () => {
  await Promise.all([startRelay(), startWorker()]);
  const [kept, gone] = [
    job({ n: 1 }, { maxAttempts: 3, keepResult: true, timeoutMs: 60_000 }),
    job({ n: 2 }),
  ];
  await expect(
    database.transaction(async (tx) => {
      await tx.execute(insertTasks([gone]));
      throw new Error('rolled back');
    }),
  ).rejects.toThrow('rolled back');
  await database.transaction((tx) => tx.execute(insertTasks([kept])));
  await expect.poll(() => jobs.status(kept.id), soon).toMatchObject({ state: 'done', result: 'sent' });
  expect(tries).toMatchObject([
    {
      id: kept.id,
      name,
      payload: { n: 1 },
      attempt: 1,
      maxAttempts: 3,
      correlationId: 'request-7',
      causationId: 'event:1',
      caller: { tenant: 't' },
    },
  ]);
  expect(await jobs.status(gone.id)).toBeUndefined();
  await expect.poll(left, soon).toEqual([]);
  expect(await database.query(sql`select 1 from plimsoll.job_receipt`)).toEqual([]);
});

test('a relay that dies between the two does it again, which adds nothing, before and after the job has run', async () => {
  const one = job(1, { priority: -5 });
  await database.execute(insertTasks([one]));
  const [task] = await database.query<ClaimedTask>(claimDue(7_777, [name], 1, [1]));
  expect(task?.id).toBe(one.id);
  // Its worker is declared dead meanwhile: Redis has the job, the end of the task is refused.
  const relay = jobs.relay(database);
  await database.execute(sql`update plimsoll.task set attempt = attempt + 1`);
  await expect(relay(task!)).rejects.toMatchObject({ code: 'PL_TASK_LOST' });
  await expect(relay(task!)).rejects.toMatchObject({ code: 'PL_TASK_LOST' });
  expect(await jobs.status(one.id)).toMatchObject({ state: 'queued' });
  // As urgent as it was, among those of BullMQ, which begin at 1.
  expect(await client.hget(`plimsoll:${name}:${one.id}`, 'priority')).toBe(String(32_769 - 5));
  await startWorker();
  await expect.poll(() => jobs.status(one.id), soon).toMatchObject({ state: 'done' });
  // The next worker takes the task over, and relays it once more.
  await startRelay();
  await expect.poll(left, soon).toEqual([]);
  const after = await jobs.add(name, 'after');
  await expect.poll(() => tries.map(({ id }) => id), soon).toEqual([one.id, after]);
});

test('while Redis does not answer tasks wait, and use up no tries', async () => {
  await startRelay();
  await client.ping();
  await redis!.signal('SIGSTOP');
  try {
    await database.execute(insertTasks([job(1, { maxAttempts: 1 })]));
    await expect.poll(left, soon).toEqual([{ state: 'scheduled', attempt: 0, code: null }]);
  } finally {
    await redis!.signal('SIGCONT');
  }
  await startWorker();
  await expect.poll(left, soon).toEqual([]);
  await expect.poll(() => tries.length, soon).toBe(1);
});

test('what cannot be relayed is a dead letter that says why', async () => {
  await database.execute(insertTasks([job(1, { orderKey: 'a', maxAttempts: 1 })]));
  await startRelay();
  await expect.poll(left, soon).toEqual([{ state: 'parked', attempt: 1, code: 'PL_CONFIG' }]);
});
