import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { noPgBouncer, startPgBouncer } from '../database/routing/fixtures/pgbouncer.ts';
import { sql } from '../database/sql.ts';
import { systemClock } from '../kernel/clock.ts';
import { claimDue } from './claim.ts';
import { enterByLease } from './lease.ts';
import { enter, reclaimFromDead } from './presence.ts';
import { completeTask, insertTasks, type ClaimedTask } from './task.ts';
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
beforeEach(() => database.execute(sql`truncate plimsoll.task, plimsoll.worker`));

const write = (): Promise<number> =>
  database.execute(
    insertTasks([
      {
        id: randomUUID(),
        kind: 'job',
        name: 'work',
        payload: {},
        delayMs: 0,
        maxAttempts: 3,
        correlationId: 'c',
        causationId: undefined,
        caller: {},
      },
    ]),
  );
const soon = { timeout: 10_000, interval: 10 };

test('a worker with a session of its own needs no lease', async () => {
  const presence = await enter(database);
  expect(presence.kind).toBe('session');
  await presence.leave();
});

test('a lease that runs out is a death; what comes after is refused, and it learns of it', async () => {
  // Time for the worker passes as it is told to.
  const wakes: (() => void)[] = [];
  const clock = {
    ...systemClock,
    sleep: (_ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve) => {
        wakes.push(resolve);
        signal?.addEventListener('abort', () => resolve());
      }),
  };
  const lease = await enterByLease(database, clock);
  await write();
  const [task] = await database.query<ClaimedTask>(claimDue(lease.worker, ['work'], 1));
  expect(await reclaimFromDead(database)).toEqual({ reclaimed: 0, alive: 1 });

  // It renews in time, and lives on.
  await database.execute(
    sql`update plimsoll.worker set lease_until = clock_timestamp() + interval '1 second'`,
  );
  wakes.shift()?.();
  await expect
    .poll(
      () =>
        database.one(
          sql`select lease_until > clock_timestamp() + interval '5 seconds' as renewed from plimsoll.worker`,
        ),
      soon,
    )
    .toEqual({ renewed: true });

  await database.execute(
    sql`update plimsoll.worker set lease_until = clock_timestamp() - interval '1 second'`,
  );
  expect(await reclaimFromDead(database)).toEqual({ reclaimed: 1, alive: 0 });
  expect(await database.execute(completeTask(task!))).toBe(0);
  wakes.shift()?.();
  await lease.lost;
});

test('one that ran out is not renewed, even before anybody noticed', async () => {
  const wakes: (() => void)[] = [];
  const clock = { ...systemClock, sleep: () => new Promise<void>((resolve) => void wakes.push(resolve)) };
  const lease = await enterByLease(database, clock);
  await database.execute(
    sql`update plimsoll.worker set lease_until = clock_timestamp() - interval '1 second'`,
  );
  wakes.shift()?.();
  await lease.lost;
});

test.skipIf(noPgBouncer !== undefined)(
  'behind a pooler that shares sessions out, workers live by leases, and do their work',
  async () => {
    await using pooler = await startPgBouncer([server.url]);
    const pooled = createDatabase({ url: pooler.through(server.url), routing: { pooler: 'one-to-one' } });
    const worker = createWorker({
      database: pooled,
      handlers: new Map([
        ['work', async (task: ClaimedTask) => void (await pooled.execute(completeTask(task)))],
      ]),
      pollMs: 10,
    });
    try {
      await worker.start();
      await expect.poll(() => worker.status(), soon).toMatchObject({ presence: 'lease' });
      await write();
      await expect.poll(() => database.query(sql`select 1 from plimsoll.task`), soon).toEqual([]);
      expect(
        await database.query(sql`select lease_until is not null as leased from plimsoll.worker`),
      ).toEqual([{ leased: true }]);
    } finally {
      await worker.stop();
      expect(await database.query(sql`select 1 from plimsoll.worker`)).toEqual([]);
      await pooled.close();
    }
  },
);
