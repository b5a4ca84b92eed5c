import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { claimWithinLimits } from './claim.ts';
import { setLimits, setPaused, type QueueLimits } from './limits.ts';
import { completeTask, insertTasks, type ClaimedTask, type NewTask } from './task.ts';
import { createWorker, type Worker } from './worker.ts';

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url, pool: { max: 12 } });
  await migrate(database, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  await database?.close();
  await server?.drop();
});
beforeEach(() => database.execute(sql`truncate plimsoll.task, plimsoll.task_queue, plimsoll.task_rate`));

const task = (groupKey?: string, over: Partial<NewTask> = {}): NewTask => ({
  id: randomUUID(),
  kind: 'job',
  name: 'work',
  payload: groupKey ?? '',
  delayMs: 0,
  maxAttempts: 3,
  groupKey,
  correlationId: 'c',
  causationId: undefined,
  caller: {},
  ...over,
});
const write = (...groups: (string | undefined)[]): Promise<number> =>
  database.execute(insertTasks(groups.map((group) => task(group))));
const limit = (limits: QueueLimits | undefined): Promise<number> =>
  database.execute(setLimits('work', limits));
const claim = (most = 100): Promise<ClaimedTask[]> =>
  database.query<ClaimedTask>(claimWithinLimits(7, 'work', most));
const end = async (tasks: readonly ClaimedTask[]): Promise<void> => {
  for (const one of tasks) await database.execute(completeTask(one));
};
const groupsOf = (tasks: readonly ClaimedTask[]): string[] => tasks.map(({ payload }) => payload as string);

describe('limits of a name', () => {
  test('so many under way at once, in the order of writing', async () => {
    await write('a', 'b', undefined, 'c');
    await limit({ concurrency: 3 });
    const first = await claim();
    expect(groupsOf(first).toSorted()).toEqual(['', 'a', 'b']);
    expect(await claim()).toEqual([]);
    await end(first.slice(0, 1));
    expect(groupsOf(await claim())).toEqual(['c']);
  });

  test('so many under way for each group; those of no group are one group', async () => {
    await write('a', 'a', 'a', 'b', undefined, undefined, undefined);
    await limit({ perGroup: { concurrency: 2 } });
    const first = await claim();
    expect(groupsOf(first).toSorted()).toEqual(['', '', 'a', 'a', 'b']);
    await end(first.filter(({ payload }) => payload === 'a'));
    expect(groupsOf(await claim())).toEqual(['a']);
  });

  test('so many begun in so much time, in all and for each group', async () => {
    await write(...Array.from({ length: 10 }, () => 'a'), ...Array.from({ length: 10 }, () => 'b'));
    await limit({
      rate: { tasks: 6, perMs: 3_600_000 },
      perGroup: { rate: { tasks: 4, perMs: 3_600_000 } },
    });
    const first = await claim();
    expect(groupsOf(first).toSorted()).toEqual(['a', 'a', 'a', 'a', 'b', 'b']);
    await end(first);
    expect(await claim()).toEqual([]);
    // An hour later both are as new; half an hour gives back half.
    await database.execute(
      sql`update plimsoll.task_rate set paid_until = paid_until - interval '30 minutes'`,
    );
    expect(groupsOf(await claim())).toHaveLength(3);
    await database.execute(sql`update plimsoll.task_rate set paid_until = paid_until - interval '10 hours'`);
    expect(groupsOf(await claim())).toHaveLength(6);
  });

  test('turns: one of each group before the second of any, from where the last claim ended', async () => {
    await write(...Array.from({ length: 20 }, () => 'a'), 'b', 'c', 'b');
    await limit({ turns: true });
    const order: unknown[] = [];
    for (let n = 0; n < 6; n += 1) order.push(...groupsOf(await claim(1)));
    expect(order).toEqual(['a', 'b', 'c', 'a', 'b', 'a']);
    expect(groupsOf(await claim(100))).toHaveLength(17);
  });

  test('paused: none begins; resumed: they do', async () => {
    await write('a');
    await database.execute(setPaused('work', true));
    expect(await claim()).toEqual([]);
    await database.execute(setPaused('work', false));
    expect(await claim()).toHaveLength(1);
  });

  test.each<[QueueLimits, string]>([
    [{ concurrency: 0 }, 'concurrency: is 0; give a whole number from 1'],
    [{ rate: { tasks: 1.5, perMs: -1 } }, 'rate.perMs: is -1; give milliseconds above 0'],
    [{ perGroup: { rate: { tasks: 0, perMs: 1 } } }, 'perGroup.rate.tasks: is 0'],
  ])('%j is refused', (limits, message) => {
    expect(() => setLimits('work', limits)).toThrow(message);
  });
});

test('whatever is written and ends, claims of several at once never pass a limit, and all is run in the end', async () => {
  const group = fc.constantFrom(undefined, 'a', 'b', 'c');
  await fc.assert(
    fc.asyncProperty(
      fc.array(group, { minLength: 1, maxLength: 30, size: 'max' }),
      fc.record({
        concurrency: fc.integer({ min: 1, max: 6 }),
        perGroup: fc.integer({ min: 1, max: 3 }),
        turns: fc.boolean(),
      }),
      async (groups, { concurrency, perGroup, turns }) => {
        await database.execute(sql`truncate plimsoll.task, plimsoll.task_queue`);
        await limit({ concurrency, perGroup: { concurrency: perGroup }, turns });
        await write(...groups);
        let ended = 0;
        while (ended < groups.length) {
          const claimed = (await Promise.all([1, 2, 3].map(() => claim(2)))).flat();
          const running = await database.query<{ group: string; n: number }>(
            sql`select group_key as group, count(*)::int as n from plimsoll.task where state = 'running' group by 1`,
          );
          expect(running.reduce((sum, { n }) => sum + n, 0)).toBeLessThanOrEqual(concurrency);
          for (const { n } of running) expect(n).toBeLessThanOrEqual(perGroup);
          expect(claimed.length).toBeGreaterThan(0);
          await end(claimed);
          ended += claimed.length;
        }
        expect(ended).toBe(groups.length);
      },
    ),
    { numRuns: 30 },
  );
});

describe('workers', () => {
  let workers: Worker[] = [];
  const start = async (
    count: number,
    run: (payload: unknown) => Promise<void>,
    limits?: QueueLimits,
  ): Promise<void> => {
    workers = Array.from({ length: count }, () =>
      createWorker({
        database,
        handlers: new Map([
          [
            'work',
            async (one: ClaimedTask) => {
              await run(one.payload);
              await database.execute(completeTask(one));
            },
          ],
        ]),
        pollMs: 5,
        reclaimMs: 10,
        ...(limits === undefined ? {} : { limits: new Map([['work', limits]]) }),
      }),
    );
    await Promise.all(workers.map((worker) => worker.start()));
  };
  beforeEach(() => async () => {
    await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  });
  const soon = { timeout: 10_000, interval: 10 };
  const left = sql`select count(*)::int as n from plimsoll.task`;

  test('of several processes keep a limit together', async () => {
    let now = 0;
    let most = 0;
    await write(...Array.from({ length: 40 }, () => 'a'));
    await start(
      3,
      async () => {
        now += 1;
        most = Math.max(most, now);
        await new Promise((resolve) => setImmediate(resolve));
        now -= 1;
      },
      { concurrency: 2 },
    );
    await expect.poll(() => database.one(left), soon).toEqual({ n: 0 });
    expect(most).toBeLessThanOrEqual(2);
  });

  test('stop beginning when a name is paused, and go on when it is resumed', async () => {
    const ran: unknown[] = [];
    await start(1, async (payload) => void ran.push(payload));
    await database.execute(setPaused('work', true));
    await database.execute(setPaused('other', true));
    await write('a');
    // Another name goes on, so the worker has looked.
    await expect.poll(() => ran.length === 1 || database.one(left), soon).toEqual({ n: 1 });
    await database.execute(setPaused('work', false));
    await expect.poll(() => ran, soon).toEqual(['a']);
  });
});
