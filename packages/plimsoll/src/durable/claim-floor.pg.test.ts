import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql, type Sql } from '../database/sql.ts';
import { systemClock } from '../kernel/clock.ts';
import { createClaimFloor } from './claim-floor.ts';
import { claimDue } from './claim.ts';
import { completeTask, insertTasks, type ClaimedTask, type NewTask } from './task.ts';
import { createWorker } from './worker.ts';

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
});
afterAll(async () => {
  await database?.close();
  await server?.drop();
});
beforeEach(() => database.execute(sql`truncate plimsoll.task`));

const task = (over: Partial<NewTask> = {}): NewTask => ({
  id: randomUUID(),
  kind: 'job',
  name: 'a',
  payload: {},
  delayMs: 0,
  maxAttempts: 3,
  correlationId: 'c',
  causationId: undefined,
  caller: {},
  ...over,
});
const anHourAgo = (): Date => new Date(Date.now() - 3_600_000);

test('whatever gets ready, and wherever: nothing is claimed twice, and a look at everything finds what is behind the floor', async () => {
  const names = ['a', 'b'];
  const step = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        write: fc.constantFrom(...names),
        priority: fc.integer({ min: -1, max: 2 }),
        ageS: fc.constantFrom(0, 1, 60, 3_600),
      }),
    },
    { weight: 2, arbitrary: fc.record({ claim: fc.integer({ min: 1, max: 3 }) }) },
    fc.constant('give back' as const),
    fc.constant('advance' as const),
    fc.constant('reset' as const),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
      await database.execute(sql`truncate plimsoll.task`);
      let nowMs = 0;
      const floor = createClaimFloor(database, { ...systemClock, monotonicMs: () => nowMs }, 0);
      const ready = new Map<string, string>();
      let running: ClaimedTask[] = [];
      const claim = async (limit: number): Promise<readonly ClaimedTask[]> => {
        const claimed = await database.query<ClaimedTask>(
          claimDue(7, names, limit, [limit, limit], floor.of(names)),
        );
        floor.note(claimed);
        for (const { id, name } of claimed) {
          expect(ready.get(id)).toBe(name);
          ready.delete(id);
        }
        running.push(...claimed);
        return claimed;
      };
      for (const each of steps) {
        if (each === 'reset') await floor.reset(names);
        else if (each === 'advance') {
          nowMs += 1_000;
          await floor.advance(names);
        } else if (each === 'give back') {
          await database.execute(sql`
            update plimsoll.task set state = 'ready', worker = null where state = 'running'`);
          for (const { id, name } of running) ready.set(id, name);
          running = [];
        } else if ('claim' in each) await claim(each.claim);
        else {
          const { write: name, priority, ageS } = each;
          const one = task({ name, priority, delayMs: -ageS * 1_000 });
          await database.execute(insertTasks([one]));
          ready.set(one.id, name);
          // What is due now is never behind it.
          if (ageS === 0) {
            const left = ready.size;
            const claimed = await claim(left);
            expect(claimed.map(({ id }) => id)).toContain(one.id);
          }
        }
      }
      await floor.reset(names);
      await claim(1_000);
      expect([...ready]).toEqual([]);
    }),
    { numRuns: 60 },
  );
});

test('after a look at everything the most urgent are claimed, of each name no more than asked for', async () => {
  const floor = createClaimFloor(database, systemClock, 0);
  const written = [3, -1, 0, 3, -1, 0, -1].map((priority) => task({ priority, runAt: anHourAgo() }));
  await database.execute(insertTasks([...written, task({ name: 'b' })]));
  for (let look = 0; look < 3; look += 1) await floor.reset(['a', 'b']);
  const claim = (most: number): Promise<ClaimedTask[]> =>
    database.query<ClaimedTask>(claimDue(7, ['a', 'b'], 100, [most, most], floor.of(['a', 'b'])));
  expect((await claim(4)).map(({ name, priority }) => `${name} ${priority}`).toSorted()).toEqual(
    ['a -1', 'a -1', 'a -1', 'a 0', 'b 0'].toSorted(),
  );
  expect((await claim(4)).map(({ priority }) => priority)).toEqual([0, 3, 3]);
});

/** A transaction that keeps the server from removing what is deleted from now on. */
async function pinHorizon(): Promise<AsyncDisposable> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await client.query('begin isolation level repeatable read; select from plimsoll.task limit 1');
  return { [Symbol.asyncDispose]: () => client.end() };
}

const manyGone = 30_000;
/** As many as that have been ready a minute ago, and are gone. */
async function leaveDead(): Promise<void> {
  await database.execute(sql`
    insert into plimsoll.task (id, kind, name, max_attempts, payload, correlation_id, run_at)
    select gen_random_uuid(), 'job', 'a', 3, '{}', 'c', now() - interval '1 minute' from generate_series(1, ${manyGone}::int)`);
  await database.execute(sql`delete from plimsoll.task`);
}

test('under a pinned horizon a claim from the floor reads a small part of what one from the beginning does', async () => {
  await using _pinned = await pinHorizon();
  await leaveDead();
  const floor = createClaimFloor(database, systemClock);
  await database.execute(insertTasks([task()]));
  // Which priorities there are is learned from the first.
  await floor.reset(['a']);
  expect(floor.rises).toBe(true);
  const blocks = async (claim: Sql): Promise<number> => {
    const [plan] = await database.query<{
      'QUERY PLAN': readonly { readonly Plan: Record<string, number> }[];
    }>(sql`explain (analyze, buffers, format json) ${claim}`);
    const { 'Shared Hit Blocks': hit = 0, 'Shared Read Blocks': read = 0 } =
      plan?.['QUERY PLAN'][0]?.Plan ?? {};
    return hit + read;
  };
  const fromStart = await blocks(claimDue(7, ['a'], 1));
  await database.execute(sql`delete from plimsoll.task`);
  await database.execute(insertTasks([task()]));
  const fromFloor = await blocks(claimDue(7, ['a'], 1, [1], floor.of(['a'])));
  expect(fromFloor).toBeLessThan(fromStart / 10);
});

test('under a pinned horizon a worker runs what gets ready behind the floor, what was delayed, and the urgent', async () => {
  await using _pinned = await pinHorizon();
  await leaveDead();
  const ran = new Set<string>();
  const worker = createWorker({
    database,
    handlers: new Map([
      [
        'a',
        async (claimed: ClaimedTask) => {
          await database.execute(completeTask(claimed));
          ran.add(claimed.id);
        },
      ],
    ]),
    pollMs: 10,
    reclaimMs: 20,
  });
  await worker.start();
  try {
    // Long enough for the floor to rise, and more than once.
    const untilMs = performance.now() + 1_500;
    for (let round = 0; performance.now() < untilMs; round += 1) {
      const tasks = [
        task(),
        task({ runAt: anHourAgo() }),
        task({ delayMs: 50 }),
        task({ priority: -5, runAt: anHourAgo() }),
        task({ priority: round % 5, runAt: anHourAgo() }),
      ];
      await database.execute(insertTasks(tasks));
      await expect
        .poll(() => tasks.filter(({ id }) => !ran.has(id)).length, { timeout: 10_000, interval: 10 })
        .toBe(0);
    }
  } finally {
    await worker.stop();
  }
});
