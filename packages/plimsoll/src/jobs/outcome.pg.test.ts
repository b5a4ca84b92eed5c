import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { cancelTask } from '../durable/cancel.ts';
import { discardParked, listParked, replayParked, type DeadLetter } from '../durable/dead-letters.ts';
import type { Loop } from '../durable/loop.ts';
import { cancel, retry, snooze } from '../durable/outcome.ts';
import { insertTasks } from '../durable/task.ts';
import { createWorker } from '../durable/worker.ts';
import { tasks as taskChannel, type TaskMessage } from '../kernel/channels.ts';
import { createContext } from '../kernel/context.ts';
import { jobHandler, type TransactionalJob } from './job-handler.ts';
import { newJob, type JobOptions } from './job.ts';
import { acceptJob, jobStatus } from './receipt.ts';

let server: TestDatabase;
let database: Database;
let worker: Loop;
/** What the next jobs do, by name. */
let run: (input: unknown, job: TransactionalJob) => Promise<unknown>;
const ended: Pick<TaskMessage, 'outcome' | 'attempt'>[] = [];
const stopListening = taskChannel.subscribe((message) => {
  if (message.scope === database?.scope) ended.push({ outcome: message.outcome, attempt: message.attempt });
});

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
  await database.execute(sql`create table effect (text text not null)`);
  worker = createWorker({
    database,
    handlers: new Map([['work', jobHandler(database, (input, job) => run(input, job))]]),
    concurrency: 2,
    pollMs: 10,
    reclaimMs: 20,
    backoff: { baseMs: 1, maxMs: 2 },
  });
  await worker.start();
});
afterAll(async () => {
  stopListening();
  await worker?.stop();
  await database?.close();
  await server?.drop();
});
beforeEach(async () => {
  await database.execute(sql`truncate plimsoll.task, plimsoll.job_receipt, effect`);
  ended.length = 0;
});

const job = (options: JobOptions = {}, input: unknown = {}): ReturnType<typeof newJob> =>
  newJob(createContext(), { id: randomUUID(), name: 'work', input, ...options });
async function enqueue(options: JobOptions = {}, input: unknown = {}): Promise<string> {
  const one = job(options, input);
  await database.execute(insertTasks([one]));
  return one.id;
}
const effects = async (): Promise<string[]> =>
  (await database.query<{ text: string }>(sql`select text from effect order by text`)).map(
    ({ text }) => text,
  );
const left = (): Promise<unknown[]> =>
  database.query(sql`select state, attempt, last_error->>'message' as message from plimsoll.task`);
const soon = { timeout: 10_000, interval: 10 };

describe('outcomes', () => {
  test('retry rolls back and is a failed attempt, parked after the last one with its reason', async () => {
    run = async (_input, { tx }) => {
      await tx.execute(sql`insert into effect values ('half')`);
      return retry({ delayMs: 0, reason: 'the bank is closed' });
    };
    await enqueue({ maxAttempts: 2 });
    await expect
      .poll(left, soon)
      .toEqual([{ state: 'parked', attempt: 2, message: 'retry: the bank is closed' }]);
    expect(await effects()).toEqual([]);
    await expect
      .poll(() => ended, soon)
      .toEqual([
        { outcome: 'retry', attempt: 1 },
        { outcome: 'parked', attempt: 2 },
      ]);
  });

  test('snooze rolls back, and however often, uses up no attempt', async () => {
    let rounds = 0;
    run = async (_input, { tx }) => {
      await tx.execute(sql`insert into effect values ('done')`);
      rounds += 1;
      return rounds < 5 ? snooze(1) : undefined;
    };
    await enqueue({ maxAttempts: 1 });
    await expect.poll(left, soon).toEqual([]);
    expect(await effects()).toEqual(['done']);
    await expect
      .poll(() => ended.map(({ outcome }) => outcome), soon)
      .toEqual(['snoozed', 'snoozed', 'snoozed', 'snoozed', 'done']);
  });

  test('cancel ends it without effect, and a receipt says why', async () => {
    run = async (_input, { tx }) => {
      await tx.execute(sql`insert into effect values ('half')`);
      return cancel('the order is gone');
    };
    const accepted = job();
    await database.execute(acceptJob(accepted));
    await enqueue();
    await expect.poll(left, soon).toEqual([]);
    expect(await effects()).toEqual([]);
    expect(await jobStatus(database, accepted.id)).toMatchObject({
      state: 'cancelled',
      reason: 'the order is gone',
    });
    // Nobody wanted to know of the other one.
    expect(await database.query(sql`select 1 from plimsoll.job_receipt`)).toHaveLength(1);
  });

  test.each([-1, NaN, Infinity])('a delay of %s is refused', (delayMs) => {
    expect(() => snooze(delayMs)).toThrow('give milliseconds from 0');
    expect(() => retry({ delayMs, reason: 'x' })).toThrow('give milliseconds from 0');
  });
});

describe('a job', () => {
  test('that was asked to keep its result tells it, and its progress before', async () => {
    const told = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    run = async (_input, { progress }) => {
      await progress({ done: 1, of: 2 });
      told.resolve();
      await go.promise;
      return { rows: 7 };
    };
    const id = await enqueue({ keepResult: true });
    await told.promise;
    expect(await jobStatus(database, id)).toMatchObject({ state: 'running', progress: { done: 1, of: 2 } });
    go.resolve();
    await expect
      .poll(() => jobStatus(database, id), soon)
      .toEqual({
        jobId: id,
        name: 'work',
        acceptedAt: expect.stringMatching(/^\d{4}-/) as string,
        state: 'done',
        result: { rows: 7 },
      });
  });

  test('without it leaves nothing behind', async () => {
    run = async () => ({ rows: 7 });
    const id = await enqueue();
    await expect.poll(() => jobStatus(database, id), soon).toBeUndefined();
    expect(await database.query(sql`select 1 from plimsoll.job_receipt`)).toEqual([]);
  });

  test('has a time limit of its own', async () => {
    run = async (_input, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
    };
    await enqueue({ timeoutMs: 20, maxAttempts: 1 });
    await expect
      .poll(left, soon)
      .toEqual([
        { state: 'parked', attempt: 1, message: expect.stringMatching(/time limit|deadline/) as string },
      ]);
  });

  test('runs before others of its name that are less urgent, and not before its time', async () => {
    const go = Promise.withResolvers<void>();
    const ran: unknown[] = [];
    run = async (input) => {
      if (input === 'first') await go.promise;
      else ran.push(input);
    };
    await enqueue({}, 'first');
    await enqueue({}, 'first');
    await expect.poll(left, soon).toMatchObject([{ state: 'running' }, { state: 'running' }]);
    const at = new Date(Date.now() + 3_600_000);
    await database.execute(
      insertTasks([
        job({ priority: 5 }, 'later'),
        job({ priority: -1 }, 'urgent'),
        job({ priority: -1, runAt: at }, 'in an hour'),
      ]),
    );
    go.resolve();
    await expect.poll(() => ran, soon).toEqual(['urgent', 'later']);
    await expect.poll(left, soon).toMatchObject([{ state: 'scheduled', attempt: 0 }]);
    expect(await database.query(sql`select run_at from plimsoll.task`)).toEqual([{ run_at: at }]);
  });

  test.each<[JobOptions, string]>([
    [{ maxAttempts: 0 }, 'maxAttempts: is 0; give a whole number from 1'],
    [{ priority: 1.5 }, 'priority: is 1.5'],
    [{ priority: 40_000 }, 'priority: is 40000'],
    [{ timeoutMs: 0 }, 'timeoutMs: is 0'],
    [{ delayMs: NaN }, 'delayMs: is "NaN"; give milliseconds'],
    [{ runAt: new Date(NaN) }, 'runAt: is null; give a valid Date'],
    [{ orderKey: '' }, 'orderKey: is ""'],
    [{ onPark: 'drop' as 'skip' }, 'onPark: is "drop"; give "block" or "skip"'],
  ])('with %j is refused at once', (options, message) => {
    expect(() => job(options)).toThrow(message);
  });
});

describe('cancelling', () => {
  const asked = (id: string): Promise<{ state: string } | undefined> =>
    database.maybeOne<{ state: string }>(cancelTask(id, 'changed my mind'));

  test.each<JobOptions>([{ delayMs: 3_600_000 }, { delayMs: 3_600_000, keepResult: true }])(
    'one that has not begun is gone at once (%j)',
    async (options) => {
      const id = await enqueue(options);
      expect(await asked(id)).toEqual({ state: 'cancelled' });
      expect(await left()).toEqual([]);
      const told = { state: 'cancelled', reason: 'changed my mind' };
      const status = await jobStatus(database, id);
      if (options.keepResult === true) expect(status).toMatchObject(told);
      else expect(status).toBeUndefined();
      expect(await asked(id)).toBeUndefined();
    },
  );

  test('one that waits for its turn lets those behind it go', async () => {
    await enqueue({ orderKey: 'a', delayMs: 3_600_000 });
    const [{ id }] = (await database.query<{ id: string }>(sql`select id from plimsoll.task`)) as [
      { id: string },
    ];
    run = async () => undefined;
    await enqueue({ orderKey: 'a' });
    await asked(id);
    await expect.poll(left, soon).toEqual([]);
  });

  test('a running one hears of it by its signal, and ends as cancelled without effect', async () => {
    let reason: unknown;
    run = async (_input, { signal, tx }) => {
      await tx.execute(sql`insert into effect values ('half')`);
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      reason = signal.reason;
      throw new Error('stopped');
    };
    const accepted = job();
    await database.execute(acceptJob(accepted));
    await expect.poll(left, soon).toMatchObject([{ state: 'running' }]);
    expect(await asked(accepted.id)).toEqual({ state: 'asked' });
    await expect.poll(() => jobStatus(database, accepted.id), soon).toMatchObject({ state: 'cancelled' });
    expect(String(reason)).toContain('changed my mind');
    expect(await effects()).toEqual([]);
    await expect.poll(() => ended, soon).toEqual([{ outcome: 'cancelled', attempt: 1 }]);
  });

  test('one that was asked to end and comes back before it heard is ended, not run', async () => {
    run = async () => {
      throw new Error('must not run');
    };
    const one = job({ delayMs: 3_600_000 });
    await database.execute(insertTasks([one]));
    await database.execute(
      sql`update plimsoll.task set cancel_reason = 'no', state = 'ready', run_at = now() where id = ${one.id}`,
    );
    await expect.poll(left, soon).toEqual([]);
    await expect.poll(() => ended, soon).toEqual([{ outcome: 'cancelled', attempt: 1 }]);
  });
});

describe('dead letters', () => {
  const letters = (...given: Parameters<typeof listParked>): Promise<DeadLetter[]> =>
    database.query<DeadLetter>(listParked(...given));

  test('are listed, replayed and discarded by what they are', async () => {
    run = async (input) => {
      throw new Error(`no ${String(input)}`);
    };
    const ids: string[] = [];
    for (const input of ['a', 'b', 'c']) {
      ids.push(await enqueue({ maxAttempts: 1, orderKey: input }, input));
      await expect.poll(() => letters({}), soon).toHaveLength(ids.length);
    }
    await enqueue({ orderKey: 'c' }, 'behind');
    expect((await letters({})).map(({ payload }) => payload)).toEqual(['c', 'b', 'a']);
    expect(await letters({ ids: [ids[2]!] })).toMatchObject([
      {
        name: 'work',
        kind: 'job',
        payload: 'c',
        attempts: 1,
        orderKey: 'c',
        waiting: 1,
        error: { message: 'no c' },
        parkedAt: expect.any(Date) as Date,
      },
    ]);
    expect(await letters({}, 1)).toHaveLength(1);
    expect(await letters({ name: 'other' })).toEqual([]);
    expect(await letters({ name: 'work', kind: 'delivery' })).toEqual([]);
    expect(await letters({ errorCode: 'PL_DEADLINE' })).toEqual([]);
    expect(await letters({ parkedBefore: new Date(0) })).toEqual([]);
    expect(await letters({ parkedAfter: new Date(0), orderKey: 'b' })).toMatchObject([{ payload: 'b' }]);

    const ran: unknown[] = [];
    run = async (input) => void ran.push(input);
    expect(await database.execute(replayParked({ ids: [ids[0]!] }))).toBe(1);
    await expect.poll(() => ran, soon).toEqual(['a']);
    expect(await database.execute(discardParked({ orderKey: 'c' }))).toBe(1);
    await expect.poll(() => ran, soon).toEqual(['a', 'behind']);
    expect(await database.execute(replayParked({}))).toBe(1);
    await expect.poll(() => ran, soon).toEqual(['a', 'behind', 'b']);
    await expect.poll(left, soon).toEqual([]);
  });

  test('all of them at once are never discarded', () => {
    expect(() => discardParked({})).toThrow('filter: is empty; say which');
    expect(() => discardParked({ name: undefined } as object)).toThrow('filter: is empty; say which');
  });
});
