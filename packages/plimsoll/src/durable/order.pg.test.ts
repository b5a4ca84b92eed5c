import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { claimDue, promoteDue } from './claim.ts';
import { discardParked, replayParked } from './dead-letters.ts';
import type { Loop } from './loop.ts';
import { reclaimOrphans } from './presence.ts';
import { completeTask, holdOrders, insertTasks, type ClaimedTask, type NewTask } from './task.ts';
import { releaseFailed } from './settle.ts';
import { createWorker } from './worker.ts';

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url, pool: { max: 20 } });
  await migrate(database, migrationsOf({ modules: [] }));
  await database.execute(
    sql`create table effect (place bigint generated always as identity, key text, task uuid)`,
  );
});
afterAll(async () => {
  await database?.close();
  await server?.drop();
});
beforeEach(async () => {
  await database.execute(sql`truncate plimsoll.task, plimsoll.worker, effect`);
});

const task = (orderKey: string | undefined, over: Partial<NewTask> = {}): NewTask => ({
  id: randomUUID(),
  kind: 'job',
  name: 'work',
  payload: {},
  delayMs: 0,
  maxAttempts: 3,
  orderKey,
  correlationId: 'c',
  causationId: undefined,
  caller: {},
  ...over,
});
const write = (...tasks: NewTask[]): Promise<number> => database.execute(insertTasks(tasks));
/** In the order of writing. */
const states = async (): Promise<string[]> =>
  (await database.query<{ state: string }>(sql`select state from plimsoll.task order by seq`)).map(
    ({ state }) => state,
  );
const claimAs = (worker: number, limit = 10): Promise<ClaimedTask[]> =>
  database.query<ClaimedTask>(claimDue(worker, ['work'], limit));
const claim = async (): Promise<ClaimedTask> => {
  const [claimed] = await claimAs(7, 1);
  if (claimed === undefined) throw new Error('nothing was ready');
  return claimed;
};
const end = (claimed: ClaimedTask): Promise<number> => database.execute(completeTask(claimed));

describe('tasks of one order key', () => {
  test('run one at a time in the order of writing; another key, another name and no key wait for nobody', async () => {
    const [first, second, third] = [task('a'), task('a'), task('a')];
    await write(first, second, task('b'), task('a', { name: 'other' }), task(undefined));
    await write(third);
    expect((await states()).filter((state) => state === 'waiting')).toHaveLength(2);
    const ran: string[] = [];
    for (;;) {
      const [claimed] = (await claimAs(7)).filter(({ orderKey }) => orderKey === 'a');
      if (claimed === undefined) break;
      ran.push(claimed.id);
      expect((await claimAs(8)).filter(({ orderKey }) => orderKey === 'a')).toEqual([]);
      await end(claimed);
    }
    expect(ran).toEqual([first.id, second.id, third.id]);
  });

  test('a head that is to be tried again, or is not due yet, stays the head', async () => {
    await write(task('a'), task('a'));
    await database.execute(releaseFailed(await claim(), new Error('no'), 3_600_000));
    expect(await states()).toEqual(['scheduled', 'waiting']);
    await write(task('later', { delayMs: 3_600_000 }), task('later'));
    expect(await states()).toEqual(['scheduled', 'waiting', 'scheduled', 'waiting']);
    expect(await claimAs(7)).toEqual([]);
  });

  test('one that has waited is due from then on, or when its own time comes', async () => {
    await write(task('a'), task('a'), task('a', { delayMs: 3_600_000 }));
    await database.execute(
      sql`update plimsoll.task set run_at = run_at - interval '1 hour' where state = 'ready'`,
    );
    await end(await claim());
    expect(await states()).toEqual(['ready', 'waiting']);
    const second = await claim();
    expect(second.lagMs).toBeLessThan(60_000);
    await end(second);
    expect(await states()).toEqual(['scheduled']);
    await database.execute(sql`update plimsoll.task set run_at = now() - interval '1 second'`);
    expect(await database.one(promoteDue())).toMatchObject({ promoted: 1, nextMs: null });
    expect(await states()).toEqual(['ready']);
  });

  test('a parked head that blocks is passed by nobody until it is replayed or discarded', async () => {
    const [first, second] = [task('a', { maxAttempts: 1 }), task('a')];
    await write(first, second);
    await database.execute(releaseFailed(await claim(), new Error('no'), 0));
    expect(await states()).toEqual(['parked', 'waiting']);
    await write(task('a'));
    expect(await states()).toEqual(['parked', 'waiting', 'waiting']);
    await database.execute(replayParked({ name: 'work' }));
    const again = await claim();
    expect(again).toMatchObject({ id: first.id, attempt: 1 });
    await database.execute(sql`update plimsoll.task set max_attempts = 1 where id = ${first.id}`);
    await database.execute(releaseFailed(again, new Error('no'), 0));
    expect(await database.execute(discardParked({ ids: [first.id] }))).toBe(1);
    expect(await claim()).toMatchObject({ id: second.id });
  });

  test('a parked one that is skipped lets the next go, and when replayed waits for it', async () => {
    const [first, second] = [task('a', { maxAttempts: 1, onPark: 'skip' }), task('a')];
    await write(first, second);
    await database.execute(releaseFailed(await claim(), new Error('no'), 0));
    expect(await states()).toEqual(['parked', 'ready']);
    await database.execute(replayParked({}));
    expect(await states()).toEqual(['waiting', 'ready']);
    const claimed = await claim();
    expect(claimed.id).toBe(second.id);
    await end(claimed);
    expect((await claim()).id).toBe(first.id);
  });

  test('a parked one that was skipped goes at once when replayed alone', async () => {
    await write(task('a', { maxAttempts: 1, onPark: 'skip' }));
    await database.execute(releaseFailed(await claim(), new Error('no'), 0));
    await database.execute(replayParked({}));
    expect(await states()).toEqual(['ready']);
  });

  test('one that is discarded while it waits lets nobody pass the head', async () => {
    await write(task('a'), task('a'), task('a'));
    await database.execute(
      sql`delete from plimsoll.task where seq = (select min(seq) from plimsoll.task where state = 'waiting')`,
    );
    expect(await states()).toEqual(['ready', 'waiting']);
  });

  test('the head of a worker that died is the head again', async () => {
    await write(task('a'), task('a'));
    const ghost = 1_000_000;
    expect(await claimAs(ghost)).toHaveLength(1);
    expect(await reclaimOrphans(database)).toMatchObject({ reclaimed: 1 });
    expect(await states()).toEqual(['ready', 'waiting']);
  });

  test('a head that ends while another is being written waits for that commit, and lets it go', async () => {
    await write(task('a'));
    const head = await claim();
    const written = Promise.withResolvers<void>();
    const commit = Promise.withResolvers<void>();
    const writing = database.transaction(async (tx) => {
      await tx.execute(insertTasks([task('a')]));
      written.resolve();
      await commit.promise;
    });
    await written.promise;
    const ending = end(head);
    await expect
      .poll(
        () =>
          database.one(
            sql`select count(*)::int as n from pg_locks where locktype = 'advisory' and not granted`,
          ),
        {
          timeout: 10_000,
        },
      )
      .toEqual({ n: 1 });
    commit.resolve();
    await Promise.all([writing, ending]);
    expect(await states()).toEqual(['ready']);
  });

  test('one that ends a task and writes the next of its key in one statement leaves one head', async () => {
    await write(task('a'));
    for (let round = 0; round < 5; round += 1) {
      await database.query(
        sql`with ended as (${completeTask(await claim())}), written as (${insertTasks([task('a'), task('a')])}) select 1`,
      );
      expect(await states()).toEqual(['ready', ...Array.from({ length: round + 1 }, () => 'waiting')]);
    }
  });

  test('two that end a task of each other’s key and write one of the other’s do not deadlock', async () => {
    // Of different locks; which of the two comes first is up to the hash.
    await write(task('a'), task('b'));
    const [one, two] = await claimAs(7);
    const both = [one!, two!].map((claimed, index, all) =>
      database.transaction(async (tx) => {
        const other = all[1 - index]!.orderKey!;
        await tx.query(
          holdOrders([
            { name: 'work', orderKey: claimed.orderKey! },
            { name: 'work', orderKey: other },
          ]),
        );
        await tx.execute(completeTask(claimed));
        await tx.execute(insertTasks([task(other)]));
      }),
    );
    await Promise.all(both);
    expect(await states()).toEqual(['ready', 'ready']);
  });

  test.each(['repeatable read', 'serializable'])(
    'a %s transaction is refused, and says why',
    async (level) => {
      const writing = database.transaction(async (tx) => {
        await tx.execute(
          level === 'serializable'
            ? sql`set transaction isolation level serializable`
            : sql`set transaction isolation level repeatable read`,
        );
        await tx.execute(insertTasks([task('a')]));
      });
      await expect(writing).rejects.toThrow(
        `READ COMMITTED transactions; this one is ${level.toUpperCase()}`,
      );
    },
  );
});

/** One transaction of one writer: a task for each key, and whether it commits. */
interface Written {
  readonly writer: number;
  readonly keys: readonly number[];
  readonly commits: boolean;
  /** So often the first of them fails. */
  readonly failures: number;
}

const written: fc.Arbitrary<Written> = fc.record({
  writer: fc.nat({ max: 3 }),
  keys: fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 4 }),
  commits: fc.nat({ max: 4 }).map((one) => one > 0),
  failures: fc.nat({ max: 2 }),
});

test('whatever is written, fails and dies: each committed task has one effect, in the order of commits of its key', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(written, { minLength: 1, maxLength: 24, size: 'max' }),
      fc.nat({ max: 2 }),
      async (transactions, deaths) => {
        await database.execute(sql`truncate plimsoll.task, plimsoll.worker, effect`);
        // By key, in the order of commits: the number is given under the lock of the key.
        const committed: { key: string; seq: number; id: string; writer: number; place: number }[] = [];
        const workers: Loop[] = [1, 2].map(() =>
          createWorker({
            database,
            handlers: new Map([
              [
                'work',
                async (claimed: ClaimedTask) => {
                  const { failures, key } = claimed.payload as { failures: number; key: string };
                  if (claimed.attempt <= failures) throw new Error('not yet');
                  await database.transaction(async (tx) => {
                    await tx.execute(sql`insert into effect (key, task) values (${key}, ${claimed.id})`);
                    if ((await tx.execute(completeTask(claimed))) !== 1)
                      throw new PlimsollError('PL_TASK_LOST', 'taken over');
                  });
                },
              ],
            ]),
            concurrency: 4,
            pollMs: 5,
            reclaimMs: 20,
            backoff: { baseMs: 1, maxMs: 2 },
          }),
        );
        await Promise.all(workers.map((worker) => worker.start()));
        const writers = [0, 1, 2, 3].map(async (writer) => {
          for (const [place, transaction] of transactions.entries()) {
            if (transaction.writer !== writer) continue;
            const tasks = transaction.keys.map((key, index) =>
              task(`k${key}`, {
                maxAttempts: 100,
                payload: { key: `k${key}`, failures: index === 0 ? transaction.failures : 0 },
              }),
            );
            await database
              .transaction(async (tx) => {
                await tx.execute(insertTasks(tasks));
                const rows = await tx.query<{ id: string; key: string; seq: number }>(
                  sql`select id, order_key as key, seq from plimsoll.task where id = any(${tasks.map(({ id }) => id)})`,
                );
                if (!transaction.commits) throw new Error('rolled back');
                const places = new Map(tasks.map(({ id }, index) => [id, place * 10 + index]));
                return rows.map((row) => ({ ...row, writer, place: places.get(row.id)! }));
              })
              .then(
                (rows) => committed.push(...rows),
                (error: Error) => {
                  if (error.message !== 'rolled back') throw error;
                },
              );
          }
        });
        for (let death = 0; death < deaths; death += 1) {
          await database.query(sql`
            select pg_terminate_backend(l.pid) from pg_locks l join plimsoll.worker w on l.objid = w.id::oid
            where l.locktype = 'advisory' and l.granted and l.objsubid = 2 limit 1`);
        }
        await Promise.all(writers);
        await expect
          .poll(() => database.one(sql`select count(*)::int as left from plimsoll.task`), {
            timeout: 20_000,
            interval: 10,
          })
          .toEqual({ left: 0 });
        await Promise.all(workers.map((worker) => worker.stop()));
        const effects = await database.query<{ key: string; task: string }>(
          sql`select key, task from effect order by place`,
        );
        for (const key of ['k0', 'k1', 'k2', 'k3']) {
          const of = committed.filter((row) => row.key === key).toSorted((a, b) => a.seq - b.seq);
          expect(effects.filter((effect) => effect.key === key).map((effect) => effect.task)).toEqual(
            of.map(({ id }) => id),
          );
          // What one writer did in turn has that order, whatever the numbers say.
          for (const writer of [0, 1, 2, 3]) {
            const own = of.filter((row) => row.writer === writer).map(({ place }) => place);
            expect(own).toEqual(own.toSorted((a, b) => a - b));
          }
        }
        expect(effects).toHaveLength(committed.length);
      },
    ),
    { numRuns: 25 },
  );
});
