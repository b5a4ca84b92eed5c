import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { claimDue } from '../durable/claim.ts';
import type { Loop } from '../durable/loop.ts';
import { snooze } from '../durable/outcome.ts';
import type { ClaimedTask } from '../durable/task.ts';
import { createWorker } from '../durable/worker.ts';
import { Cancellation } from '../kernel/cancellation.ts';
import { createJobs } from './create-jobs.ts';
import type { Jobs } from './jobs.ts';
import { jobHandler, type TransactionalJob } from './job-handler.ts';

let server: TestDatabase;
let database: Database;
let jobs: Jobs;
let worker: Loop | undefined;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
  await database.execute(
    sql`create table effect (n int not null, transaction xid8 not null default pg_current_xact_id())`,
  );
  jobs = createJobs({ database });
});
afterAll(async () => {
  await database?.close();
  await server?.drop();
});
beforeEach(async () => {
  await database.execute(sql`truncate plimsoll.task, plimsoll.job_receipt, effect`);
  return async () => {
    await worker?.stop();
    worker = undefined;
  };
});

async function start(run: (n: number, job: TransactionalJob) => Promise<unknown>): Promise<void> {
  const started = createWorker({
    database,
    handlers: new Map([['work', jobHandler(database, run, { group: true })]]),
    concurrency: 50,
    pollMs: 10,
    reclaimMs: 20,
    backoff: { baseMs: 1, maxMs: 2 },
  });
  worker = started;
  await started.start();
}
const add = (count: number): Promise<readonly string[]> =>
  jobs.addAll(Array.from({ length: count }, (_, input) => ({ name: 'work', input })));
const effect = (n: number, { tx }: TransactionalJob): Promise<number> =>
  tx.execute(sql`insert into effect (n) values (${n})`);
const left = sql`select count(*)::int as n from plimsoll.task`;
const soon = { timeout: 10_000, interval: 10 };
const numbers = async (): Promise<number[]> =>
  (await database.query<{ n: number }>(sql`select n from effect order by n`)).map(({ n }) => n);

test('jobs share transactions, and each has its effect once', async () => {
  await add(200);
  await start(effect);
  await expect.poll(() => database.one(left), soon).toEqual({ n: 0 });
  expect(await numbers()).toEqual(Array.from({ length: 200 }, (_, n) => n));
  const { n } = await database.one<{ n: number }>(
    sql`select count(distinct transaction)::int as n from effect`,
  );
  expect(n).toBeLessThan(100);
});

test('one that fails, snoozes or breaks a constraint takes back only its own', async () => {
  let rounds = 0;
  await add(20);
  await start(async (n, job) => {
    await effect(n, job);
    if (n === 4 && (rounds += 1) < 3) return snooze(1);
    if (job.task.attempt > 1) return undefined;
    if (n === 3) throw new Error('no');
    if (n === 5) await job.tx.execute(sql`insert into effect (n) values (null)`);
    return undefined;
  });
  await expect.poll(() => database.one(left), soon).toEqual({ n: 0 });
  expect(await numbers()).toEqual(Array.from({ length: 20 }, (_, n) => n));
});

test('one that hides a statement that failed costs no other one an attempt, wherever it stands in its group', async () => {
  const attempts: number[] = [];
  await add(10);
  await start(async (n, job) => {
    attempts[n] = job.task.attempt;
    // The last one: nobody after it would notice.
    if (n === 9 && job.task.attempt === 1)
      return job.tx.execute(sql`insert into effect (n) values (null)`).catch(() => undefined);
    return effect(n, job);
  });
  await expect.poll(() => database.one(left), soon).toEqual({ n: 0 });
  expect(await numbers()).toEqual(Array.from({ length: 10 }, (_, n) => n));
  expect(attempts).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
});

test('one that was taken over before its group begins is not run, and the others are', async () => {
  const [stolen] = await add(5);
  const handler = jobHandler(database, effect, { group: true });
  const claimed = await database.query<ClaimedTask>(claimDue(7, ['work'], 5));
  await database.execute(sql`update plimsoll.task set worker = 8 where id = ${stolen}`);
  const control = { cancellation: new Cancellation(), complete: undefined };
  const ended = await Promise.allSettled(claimed.map((task) => handler(task, control)));
  expect(ended.filter(({ status }) => status === 'rejected')).toMatchObject([
    { reason: { code: 'PL_TASK_LOST' } },
  ]);
  expect(await numbers()).toEqual([1, 2, 3, 4]);
});

test('a group whose connection dies is a failed attempt of each, and none is lost or doubled', async () => {
  let died = false;
  await add(10);
  await start(async (n, job) => {
    await effect(n, job);
    if (n === 5 && !died) {
      died = true;
      await job.tx.execute(sql`select pg_terminate_backend(pg_backend_pid())`);
    }
  });
  await expect.poll(() => database.one(left), soon).toEqual({ n: 0 });
  expect(await numbers()).toEqual(Array.from({ length: 10 }, (_, n) => n));
});

test('results are kept, and jobs of an order key stay in order', async () => {
  const ids = await jobs.addAll(
    Array.from({ length: 20 }, (_, input) => ({
      name: 'work',
      input,
      keepResult: true,
      orderKey: `k${input % 2}`,
    })),
  );
  const ran: number[] = [];
  await start(async (n, job) => {
    ran.push(n);
    await effect(n, job);
    return { n };
  });
  await expect.poll(() => database.one(left), soon).toEqual({ n: 0 });
  expect(await jobs.status(ids[7]!)).toMatchObject({ state: 'done', result: { n: 7 } });
  for (const parity of [0, 1]) {
    const own = ran.filter((n) => n % 2 === parity);
    expect(own).toEqual(own.toSorted((a, b) => a - b));
  }
});
