import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { startCluster } from '@plimsoll/embedded';
import { expect, onTestFinished, test } from 'vitest';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { presenceBoundMs } from '../durable/presence.ts';
import { createWorker } from '../durable/worker.ts';
import { createJobs } from './create-jobs.ts';
import { jobHandler } from './job-handler.ts';

const space = `plimsoll-${process.pid}`;
/** An interface has 15 characters at most. */
const [here, there] = [`plh${process.pid}`, `plt${process.pid}`];
const [ours, theirs] = ['10.213.77.1', '10.213.77.2'];
const ip = (...args: string[]): unknown => execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] });

/** Another machine, as far as the network goes. Undefined with the reason where this one cannot make it. */
function makeNetwork(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs Linux and root';
  try {
    ip('netns', 'add', space);
    ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', space);
    ip('addr', 'add', `${ours}/30`, 'dev', here);
    ip('link', 'set', here, 'up');
    ip('-n', space, 'addr', 'add', `${theirs}/30`, 'dev', there);
    ip('-n', space, 'link', 'set', there, 'up');
    return undefined;
  } catch (error) {
    return `no network namespaces: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function removeNetwork(): void {
  try {
    ip('netns', 'del', space);
  } catch {
    // It was not made.
  }
}

test('the jobs of a machine whose network is cut are taken over, and what it does late is refused', async (context) => {
  onTestFinished(removeNetwork);
  const reason = makeNetwork();
  if (reason !== undefined) context.skip(reason);

  await using cluster = await startCluster();
  const { primary } = cluster;
  await using stack = new AsyncDisposableStack();
  const database = createDatabase({ url: primary.url });
  stack.defer(() => database.close());
  await migrate(database, migrationsOf({ modules: [] }));
  await database.execute(sql`create table effect (n int, name text, attempt int)`);
  await database.execute(sql`alter system set listen_addresses = '127.0.0.1,10.213.77.1'`);
  await primary.restart('fast');
  const { rules } = await database.one<{ rules: string }>(sql`select current_setting('hba_file') as rules`);
  appendFileSync(rules, `host all all ${theirs}/32 scram-sha-256\n`);
  await database.query(sql`select pg_reload_conf()`);

  const url = new URL(primary.url);
  url.hostname = ours;
  const script = new URL('./fixtures/worker-process.ts', import.meta.url).pathname;
  const child = spawn(
    'ip',
    ['netns', 'exec', space, process.execPath, '--conditions=plimsoll:source', script, url.href],
    { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
  );
  stack.defer(() => void child.kill('SIGKILL'));
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('the worker has ended')));
  ended.catch(() => undefined);
  await Promise.race([once(child, 'message'), ended]);
  const jobs = createJobs({ database });
  await jobs.add('late', { n: 1 });
  await Promise.race([once(child, 'message'), ended]);

  const effect = jobHandler<{ n: number }>(database, async ({ n }, { tx, task }) => {
    await tx.execute(sql`insert into effect (n, name, attempt) values (${n}, 'late', ${task.attempt})`);
  });
  const other = createWorker({ database, handlers: new Map([['late', effect]]) });
  await other.start();
  stack.defer(() => other.stop());

  ip('link', 'set', here, 'down');
  const cutMs = performance.now();
  const effects = (): Promise<unknown> =>
    database.query<{ attempt: number }>(sql`select attempt from effect`);
  await expect.poll(effects, { timeout: 3 * presenceBoundMs, interval: 50 }).toEqual([{ attempt: 2 }]);
  await context.annotate(`taken over after ${((performance.now() - cutMs) / 1_000).toFixed(1)} s`);

  // It comes back and goes on with what it takes for its own.
  ip('link', 'set', here, 'up');
  const refused = once(child, 'message');
  child.send('go on');
  expect((await Promise.race([refused, ended]))[0]).toBe('refused');
  expect(await effects()).toEqual([{ attempt: 2 }]);
  // And its worker works again.
  await jobs.add('nothing', {});
  await expect
    .poll(() => database.query(sql`select from plimsoll.task`), { timeout: 60_000, interval: 100 })
    .toEqual([]);
});
