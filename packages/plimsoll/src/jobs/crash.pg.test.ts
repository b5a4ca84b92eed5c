import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { createJobs } from './create-jobs.ts';

let server: TestDatabase;
let database: Database;
const children = new Set<ChildProcess>();

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
  await database.execute(
    sql`create table effect (place bigint generated always as identity, n int, name text, attempt int)`,
  );
  // Most of the time a job is between its last statement and the end of its commit, so that is where a death meets it.
  await database.execute(sql`
    create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02); return null; end $$`);
  await database.execute(sql`
    create constraint trigger lingers after insert on effect deferrable initially deferred for each row
    when (new.n % 3 = 0) execute function linger()`);
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await database?.close();
  await server?.drop();
});

async function startProcess(): Promise<ChildProcess> {
  const child = fork(new URL('./fixtures/worker-process.ts', import.meta.url), [server.url], {
    execArgv: ['--conditions=plimsoll:source'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  await once(child, 'message');
  return child;
}

test('processes that are killed at any moment: others take over, each job has its effect once and in order', async () => {
  const jobs = createJobs({ database });
  const each = 300;
  let [first, second] = await Promise.all([startProcess(), startProcess()]);
  for (const name of ['alone', 'group', 'nothing', 'ordered']) {
    await jobs.addAll(
      Array.from({ length: each }, (_, n) => ({
        name,
        input: { n },
        // A job that kills its process each time would be parked; these are only where it happens.
        maxAttempts: 100,
        ...(name === 'ordered' ? { orderKey: `k${n % 7}` } : {}),
      })),
    );
  }
  const left = async (): Promise<number> =>
    (await database.one<{ n: number }>(sql`select count(*)::int as n from plimsoll.task`)).n;
  // Each time when a part of the work is done: in the midst of whatever they are at.
  for (const part of [0.85, 0.6, 0.35]) {
    await expect.poll(left, { timeout: 30_000, interval: 2 }).toBeLessThan(4 * each * part);
    const dying = part === 0.6 ? second : first;
    dying.kill('SIGKILL');
    const next = await startProcess();
    if (part === 0.6) second = next;
    else first = next;
  }
  // One goes for good, and whoever is left ends its work.
  first.kill('SIGKILL');
  await expect.poll(left, { timeout: 30_000, interval: 20 }).toBe(0);

  const counts = await database.query(
    sql`select name, count(*)::int as "all", count(distinct n)::int as "distinct" from effect group by name order by name`,
  );
  expect(counts).toEqual(['alone', 'group', 'ordered'].map((name) => ({ name, all: each, distinct: each })));
  const disordered = await database.query(sql`
    select n from (
      select n, lag(n) over (partition by n % 7 order by place) as before from effect where name = 'ordered') ordered
    where before > n`);
  expect(disordered).toEqual([]);
  second.kill('SIGKILL');
}, 90_000);
