import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { migrationsOf } from '../app/migrations.ts';
import { stress } from '../testing/stress.ts';
import { enter, reclaimFromDead, reclaimOrphans } from './presence.ts';
import { claimDue } from './claim.ts';
import { replayParked } from './dead-letters.ts';
import { completeTask, insertTasks, type ClaimedTask, type NewTask } from './task.ts';
import { createWorker, type TaskHandler, type WorkerOptions } from './worker.ts';
import type { Loop } from './loop.ts';

let server: TestDatabase;
let database: Database;
const started: Loop[] = [];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url, pool: { max: 20 } });
  await migrate(database, migrationsOf({ modules: [] }));
  await database.execute(sql`create table effect (task uuid not null, attempt int not null)`);
});
afterAll(async () => {
  await database.close();
  await server.drop();
});
beforeEach(async () => {
  await Promise.all(started.splice(0).map((worker) => worker.stop()));
  await database.execute(sql`truncate plimsoll.task, effect`);
  return async () => {
    await Promise.all(started.splice(0).map((worker) => worker.stop()));
  };
});

const task = (over: Partial<NewTask> = {}): NewTask => ({
  id: randomUUID(),
  kind: 'job',
  name: 'work',
  payload: {},
  delayMs: 0,
  maxAttempts: 3,
  correlationId: 'c',
  causationId: undefined,
  caller: {},
  ...over,
});

/** The pattern every handler follows: effect and completion in one transaction. */
const effectOnce: TaskHandler = async (claimed) => {
  await database.transaction(async (tx) => {
    await tx.execute(sql`insert into effect values (${claimed.id}, ${claimed.attempt})`);
    if ((await tx.execute(completeTask(claimed))) !== 1)
      throw new PlimsollError('PL_TASK_LOST', 'taken over');
  });
};

async function startWorker(handler: TaskHandler, options: Partial<WorkerOptions> = {}): Promise<Loop> {
  const worker = createWorker({
    database,
    handlers: new Map([['work', handler]]),
    pollMs: 10,
    reclaimMs: 50,
    backoff: { baseMs: 1, maxMs: 2 },
    ...options,
  });
  started.push(worker);
  await worker.start();
  return worker;
}

const effects = (): Promise<{ task: string; attempt: number }[]> =>
  database.query(sql`select task, attempt from effect`);
const rows = (): Promise<
  { state: string; attempt: number; worker: number | null; message: string | null }[]
> => database.query(sql`select state, attempt, worker, last_error->>'message' as message from plimsoll.task`);

describe('workers', () => {
  test('three workers share 300 tasks, each done once', async () => {
    await Promise.all([1, 2, 3].map(() => startWorker(effectOnce)));
    const tasks = Array.from({ length: 300 }, () => task());
    await database.execute(insertTasks(tasks));
    await expect.poll(async () => (await rows()).length, { timeout: 20_000 }).toBe(0);
    expect((await effects()).map((effect) => effect.task).toSorted()).toEqual(
      tasks.map(({ id }) => id).toSorted(),
    );
  });

  test('a failing task is tried again, then parked with its error, and can be replayed', async () => {
    let works = false;
    await startWorker(async (claimed) => {
      if (!works) throw new Error(`attempt ${claimed.attempt} failed`);
      await effectOnce(claimed);
    });
    await database.execute(insertTasks([task()]));
    await expect
      .poll(rows, { timeout: 10_000 })
      .toEqual([{ state: 'parked', attempt: 3, worker: null, message: 'attempt 3 failed' }]);
    works = true;
    await database.execute(replayParked({ name: 'work' }));
    await expect.poll(rows, { timeout: 10_000 }).toEqual([]);
    expect(await effects()).toHaveLength(1);
  });

  test('a refusal that says when to come back is believed, and uses up no attempts before', async () => {
    const refused = new PlimsollError('PL_BREAKER_OPEN', 'bank', { data: { retryAfterMs: 40_000 } });
    await database.execute(insertTasks([task({ maxAttempts: 20 })]));
    await startWorker(() => Promise.reject(refused), { backoff: { baseMs: 1, maxMs: 2 } });
    const waiting = sql`
      select attempt, extract(epoch from run_at - now())::float8 as seconds from plimsoll.task
      where state = 'scheduled' and last_error is not null`;
    await expect
      .poll(() => database.maybeOne<{ attempt: number; seconds: number }>(waiting), { timeout: 10_000 })
      .toMatchObject({ attempt: 1 });
    const { seconds } = await database.one<{ seconds: number }>(waiting);
    expect(seconds).toBeGreaterThan(20);
    expect(seconds).toBeLessThanOrEqual(40);
  });

  test('a task with a delay is not run before it is due', async () => {
    await startWorker(effectOnce);
    await database.execute(insertTasks([task({ delayMs: 3_600_000 }), task()]));
    await expect.poll(effects, { timeout: 10_000 }).toHaveLength(1);
    expect(await rows()).toMatchObject([{ state: 'scheduled', attempt: 0 }]);
  });

  test('a task nobody here has a handler for is left to others', async () => {
    await startWorker(effectOnce);
    await database.execute(insertTasks([task({ name: 'elsewhere' }), task()]));
    await expect.poll(effects, { timeout: 10_000 }).toHaveLength(1);
    expect(await rows()).toMatchObject([{ state: 'ready', attempt: 0 }]);
  });

  test('the tasks of a worker whose session ends are taken over, and its late completion is refused', async () => {
    const late = Promise.withResolvers<void>();
    const outcome = Promise.withResolvers<unknown>();
    const frozen = await startWorker(async (claimed) => {
      if (claimed.attempt > 1) return effectOnce(claimed);
      await late.promise;
      return effectOnce(claimed).then(
        () => outcome.resolve('committed'),
        (error: unknown) => {
          outcome.resolve(error);
          throw error;
        },
      );
    });
    await database.execute(insertTasks([task()]));
    await expect.poll(rows, { timeout: 10_000 }).toMatchObject([{ state: 'running', attempt: 1 }]);
    // What the server does when the process or its machine dies.
    await database.query(
      sql`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())`,
    );
    await expect.poll(effects, { timeout: 10_000 }).toMatchObject([{ attempt: 2 }]);
    late.resolve();
    expect(await outcome.promise).toMatchObject({ code: 'PL_TASK_LOST' });
    expect(await effects()).toHaveLength(1);
    await frozen.stop();
  });

  test('a task that kills its worker every time ends up parked', async () => {
    await database.execute(insertTasks([task({ maxAttempts: 2 })]));
    for (let attempt = 1; attempt <= 2; attempt += 1) {
      const doomed = await enter(database);
      expect(await database.query(claimDue(doomed.worker, ['work'], 1))).toHaveLength(1);
      await database.query(
        sql`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())`,
      );
      await doomed.lost;
      await expect.poll(() => reclaimFromDead(database), { timeout: 5_000 }).toMatchObject({ reclaimed: 1 });
    }
    expect(await rows()).toMatchObject([{ state: 'parked', attempt: 2, message: 'the worker process died' }]);
  });

  test('a claim made after its worker was declared dead is found and taken back', async () => {
    await database.execute(insertTasks([task()]));
    const ghost = 1_000_000;
    expect(await database.query<ClaimedTask>(claimDue(ghost, ['work'], 1))).toHaveLength(1);
    expect(await reclaimOrphans(database)).toMatchObject({ reclaimed: 1 });
    expect(await rows()).toMatchObject([{ state: 'ready', worker: null }]);
    // Every worker looks for them.
    expect(await database.query<ClaimedTask>(claimDue(ghost, ['work'], 1))).toHaveLength(1);
    await startWorker(effectOnce);
    await expect.poll(effects, { timeout: 10_000 }).toHaveLength(1);
  });

  test('a living worker is never taken for dead, however busy its process is', async () => {
    const alive = await enter(database);
    await database.execute(insertTasks([task()]));
    await database.query(claimDue(alive.worker, ['work'], 1));
    expect(await reclaimFromDead(database)).toMatchObject({ reclaimed: 0 });
    await alive.leave();
  });

  test('a stopping worker ends what it runs within its time, and gives back the rest without counting the attempt', async () => {
    const hang = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    const worker = await startWorker(
      async (claimed) => {
        await hang.promise;
        await effectOnce(claimed).finally(ended.resolve);
      },
      { drainMs: 50 },
    );
    await database.execute(insertTasks([task()]));
    await expect.poll(rows, { timeout: 10_000 }).toMatchObject([{ state: 'running', attempt: 1 }]);
    await worker.stop();
    expect(await rows()).toMatchObject([{ state: 'ready', attempt: 0, worker: null }]);
    hang.resolve();
    // The hanging handler finds its task gone and rolls back.
    await ended.promise;
    expect(await effects()).toEqual([]);
    expect(await database.query(sql`select 1 from plimsoll.worker`)).toEqual([]);
  });

  test('tasks of one name that hang leave slots to the others', async () => {
    const hang = Promise.withResolvers<void>();
    const handlers = new Map<string, TaskHandler>([
      ['work', effectOnce],
      ['hang', (claimed) => hang.promise.then(() => effectOnce(claimed))],
    ]);
    await database.execute(insertTasks(Array.from({ length: 20 }, () => task({ name: 'hang' }))));
    await startWorker(effectOnce, { handlers, concurrency: 8 });
    const running = sql`select count(*)::int as count from plimsoll.task where state = 'running'`;
    await expect.poll(() => database.one(running)).toEqual({ count: 6 });
    await database.execute(insertTasks(Array.from({ length: 20 }, () => task())));
    await expect.poll(async () => (await effects()).length, { timeout: 10_000 }).toBe(20);
    expect(await database.one(running)).toEqual({ count: 6 });
    hang.resolve();
    await expect.poll(async () => (await rows()).length, { timeout: 10_000 }).toBe(0);
  });

  test('a failure is written down once the database is back', async () => {
    const worker = await startWorker(async () => {
      await database.query(sql`select pg_terminate_backend(pg_backend_pid())`);
    });
    await database.execute(insertTasks([task({ maxAttempts: 1 })]));
    await expect.poll(rows, { timeout: 10_000 }).toMatchObject([{ state: 'parked', attempt: 1 }]);
    await worker.stop();
  });

  test('starts and stops in every awkward way', async () => {
    await stress(createWorker({ database, handlers: new Map([['work', effectOnce]]) }));
    expect(await database.query(sql`select 1 from plimsoll.worker`)).toEqual([]);
  });
});
