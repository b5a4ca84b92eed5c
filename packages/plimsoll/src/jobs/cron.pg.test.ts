import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { stress } from '../testing/stress.ts';
import { createCron } from './cron.ts';
import type { Schedule } from './schedule.ts';

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
beforeEach(() => database.execute(sql`truncate plimsoll.task, plimsoll.cron`));

const nightly: Schedule = {
  name: 'nightly',
  cron: '0 3 * * *',
  job: 'reports.build',
  input: { kind: 'sales' },
};
const cron = (schedules: readonly Schedule[], owner = 'shop'): ReturnType<typeof createCron> =>
  createCron({ database, owner, schedules, pollMs: 10 });
const jobs = (): Promise<{ name: string; payload: unknown; cause: string; priority: number }[]> =>
  database.query(
    sql`select name, payload, causation_id as cause, priority from plimsoll.task order by causation_id`,
  );
const schedules = (): Promise<{ name: string; next: Date | null; last: Date | null }[]> =>
  database.query(sql`select name, next_at as next, last_at as last from plimsoll.cron order by name`);
const soon = { timeout: 10_000, interval: 10 };

test('whatever number of processes look, each time has one job, with the schedule as its cause', async () => {
  const each: Schedule = {
    ...nightly,
    name: 'each',
    cron: '0 * * * *',
    catchUp: 'all',
    options: { priority: -3 },
  };
  const processes = Array.from({ length: 4 }, () => cron([each]));
  await Promise.all(processes.map((one) => one.start()));
  await database.execute(
    sql`update plimsoll.cron set next_at = date_trunc('hour', now()) - interval '9 hours' where name = 'each'`,
  );
  await expect.poll(jobs, soon).toHaveLength(10);
  await Promise.all(processes.map((one) => one.stop()));
  const found = await jobs();
  expect(found).toHaveLength(10);
  expect(new Set(found.map(({ cause }) => cause)).size).toBe(10);
  expect(found[0]).toMatchObject({
    name: 'reports.build',
    payload: { kind: 'sales' },
    priority: -3,
    cause: expect.stringMatching(/^cron:each:\d{4}-\d\d-\d\dT\d\d:00:00\.000Z$/) as string,
  });
  const [after] = await schedules();
  expect(after!.next!.getTime()).toBeGreaterThan(Date.now());
  expect(after!.last!.getTime()).toBeLessThanOrEqual(Date.now());
});

test('goes on after a stop from where it was; a changed one begins anew; one that is gone is removed', async () => {
  const first = cron([nightly, { ...nightly, name: 'gone' }]);
  await first.start();
  await first.stop();
  const other = cron([{ ...nightly, name: 'of another app' }], 'other');
  await other.start();
  await other.stop();
  await database.execute(
    sql`update plimsoll.cron set next_at = now() - interval '5 days' where name = 'nightly'`,
  );
  const changed = cron([{ ...nightly, cron: '0 4 * * *' }]);
  await changed.start();
  await changed.stop();
  expect((await schedules()).map(({ name }) => name)).toEqual(['nightly', 'of another app']);
  expect((await schedules())[0]!.next!.getTime()).toBeGreaterThan(Date.now());
  expect(await jobs()).toEqual([]);

  await database.execute(
    sql`update plimsoll.cron set next_at = now() - interval '5 days' where name = 'nightly'`,
  );
  const again = cron([{ ...nightly, cron: '0 4 * * *' }]);
  await again.start();
  await expect.poll(jobs, soon).toHaveLength(1);
  await again.stop();
});

test('a paused schedule does nothing', async () => {
  const one = cron([nightly]);
  await one.start();
  await database.execute(sql`update plimsoll.cron set paused = true, next_at = now() - interval '1 day'`);
  await database.execute(
    sql`insert into plimsoll.cron select 'other', owner, expression, timezone, task, payload, options, catch_up, false, next_at from plimsoll.cron`,
  );
  await expect.poll(jobs, soon).toMatchObject([{ cause: expect.stringContaining('cron:other:') as string }]);
  await one.stop();
});

test('wrong schedules are told before anything starts', () => {
  expect(() => cron([{ ...nightly, cron: 'every day' }])).toThrow(
    'schedules.nightly.cron: "every day" cannot be read',
  );
});

test('starts and stops in every awkward way', async () => {
  await stress(cron([nightly]));
});
