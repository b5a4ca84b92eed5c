import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startCluster } from '@plimsoll/embedded';
import pg from 'pg';
import { rowOf, shuffled, type Area } from '../report.ts';
import { drain, pinHorizon } from './drain.ts';
import { enqueue, type Taken } from './enqueue.ts';
import type { SagaFigures } from './saga-load.ts';
import { effectTable, type Servers, type Subject } from './subject.ts';
import { sagaSubjects, subjects } from './subjects.ts';
import { recovery, startLatency } from './workers.ts';

/** Of one subject in one round. */
interface TakenOf extends Taken {
  readonly subject: string;
}

const drainMs = 15_000;
/** Those that are far slower would take minutes for as many. */
const jobsToDrain = { most: 50_000, slow: 5_000 } as const;
const recoveryMs = 5_000;

/** A Redis on loopback that writes what it is given to the disk, as its documentation recommends for queues. */
async function startRedis(): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const directory = await mkdtemp(path.join(tmpdir(), 'plimsoll-bench-redis-'));
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const options = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--dir', directory];
    const aof = ['--appendonly', 'yes', '--appendfsync', 'everysec', '--maxmemory-policy', 'noeviction'];
    const child = spawn('redis-server', [...options, ...aof], { stdio: 'ignore' });
    if (!(await answers(child, port))) continue;
    return {
      url: `redis://127.0.0.1:${port}`,
      async stop() {
        child.kill('SIGKILL');
        await once(child, 'exit');
        await rm(directory, { recursive: true, force: true });
      },
    };
  }
  throw new Error('redis-server did not start at any of 20 ports; is it on the PATH?');
}

async function answers(child: ChildProcess, port: number): Promise<boolean> {
  let failed = false;
  child.once('error', () => (failed = true));
  for (const endMs = performance.now() + 5_000; performance.now() < endMs && !failed;) {
    if (child.exitCode !== null) return false;
    const socket = connect(port, '127.0.0.1');
    const open = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (open) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  child.kill('SIGKILL');
  return false;
}

/** BullMQ leaves connections to PostgreSQL open that nobody listens to; they end with their database. */
process.on('uncaughtException', (error: Error & { readonly code?: unknown }) => {
  if (error.code === '57P01' || error.message === 'Connection terminated unexpectedly') return;
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});

export const parts = ['jobs', 'sagas'] as const;

/** Subjects side by side, each on a database and a Redis of its own that are empty. */
export const bench: Area = async ({ rounds = 3, only, timeLeftMs, say }) => {
  await using cluster = await startCluster({ settings: { max_connections: '200' } });
  const admin = new pg.Client({ connectionString: cluster.primary.url });
  await admin.connect();
  const taken: TakenOf[] = [];
  let databases = 0;

  async function fresh<T>(use: (servers: Servers) => Promise<T>): Promise<T> {
    const redis = await startRedis();
    databases += 1;
    const name = `bench_${databases}`;
    await admin.query(`create database ${name}`);
    const url = new URL(cluster.primary.url);
    url.pathname = `/${name}`;
    try {
      const client = new pg.Client({ connectionString: url.href });
      await client.connect();
      await client.query(effectTable);
      await client.end();
      return await use({ databaseUrl: url.href, redisUrl: redis.url });
    } finally {
      await redis.stop();
      // A connection that its owner is about to close would end him when it is cut.
      const connected = 'select count(*)::int as n from pg_stat_activity where datname = $1';
      for (const endMs = performance.now() + 5_000; performance.now() < endMs;) {
        const { rows } = await admin.query<{ n: number }>(connected, [name]);
        if (rows[0]?.n === 0) break;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await admin.query(`drop database ${name} with (force)`);
    }
  }

  /** Each part on empty servers: what one leaves must not slow down the next. */
  async function part(
    subject: Subject,
    measure: (queue: Awaited<ReturnType<Subject['open']>>, servers: Servers) => Promise<readonly Taken[]>,
  ): Promise<void> {
    await fresh(async (servers) => {
      await subject.prepare(servers);
      const queue = await subject.open(servers);
      try {
        for (const each of await measure(queue, servers)) {
          taken.push({ ...each, subject: subject.name });
          say(`${subject.name}: ${each.case}, ${each.metric} ${each.value.toPrecision(4)} ${each.unit}`);
        }
      } finally {
        await queue.close();
      }
    });
  }

  /** What a program tells that has a process of its own. */
  async function told<T>(file: string, ...given: readonly string[]): Promise<T> {
    const child = fork(path.join(import.meta.dirname, file), given, {
      execArgv: ['--conditions=plimsoll:source'],
      env: { ...process.env, NODE_ENV: 'production' },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const message = new Promise<T>((resolve, reject) => {
      child.once('message', (each) => resolve(each as T));
      child.once('exit', (code) => reject(new Error(`${file} ${given.join(' ')} ended with ${code}`)));
    });
    const answer = await message;
    if (child.exitCode === null) await once(child, 'exit');
    return answer;
  }

  /** On a server that has everything else behind it: a million rows leave the disk and the cache as nothing else does. */
  async function backlog(subject: Subject): Promise<void> {
    await fresh(async (servers) => {
      await subject.prepare(servers);
      for (const each of await told<readonly Taken[]>('backlog.ts', subject.name, JSON.stringify(servers))) {
        taken.push({ ...each, subject: subject.name });
        say(`${subject.name}: ${each.case}, ${each.metric} ${each.value.toPrecision(4)} ${each.unit}`);
      }
    });
  }

  async function saga(name: string, file: string): Promise<void> {
    await fresh(async ({ databaseUrl }) => {
      const { p50Ms, perSecond } = await told<SagaFigures>(file, databaseUrl);
      const of = { subject: name, case: 'saga, 3 steps with a write each' };
      taken.push({ ...of, metric: 'one at a time, p50', unit: 'ms', value: p50Ms });
      taken.push({ ...of, metric: '50 at once', unit: 'sagas/s', value: perSecond });
      say(`${name}: saga p50 ${p50Ms.toFixed(2)} ms, ${perSecond.toFixed(0)}/s`);
    });
  }

  let done = 0;
  for (; done < rounds && timeLeftMs() > 0; done += 1) {
    say(`round ${done + 1} of ${rounds}`);
    for (const subject of only === 'sagas' ? [] : shuffled(subjects)) {
      const jobs = subject.slow === true ? jobsToDrain.slow : jobsToDrain.most;
      await part(subject, (queue, { databaseUrl }) => enqueue(queue, databaseUrl));
      await part(subject, async (queue) => [await drain(queue, 'nothing', jobs, drainMs)]);
      await part(subject, async (queue) => [await drain(queue, 'one write', jobs, drainMs)]);
      if (subject.onPostgres)
        await part(subject, async (queue, { databaseUrl }) => {
          await using _pinned = await pinHorizon(databaseUrl);
          const pinned = await drain(queue, 'nothing', jobs, drainMs);
          return [{ ...pinned, case: `${pinned.case}, beside a long transaction` }];
        });
      await part(subject, (queue, servers) =>
        startLatency(subject, queue, servers, { perSecond: 20, jobs: 60, mostMs: 10_000 }),
      );
      await part(subject, (queue, servers) =>
        startLatency(subject, queue, servers, { perSecond: 500, jobs: 2_500, mostMs: 20_000 }),
      );
      await part(subject, async (queue, servers) => [await recovery(subject, queue, servers, recoveryMs)]);
    }
    const sagas = only === 'jobs' ? [] : shuffled(Object.entries(sagaSubjects));
    for (const [name, { file }] of sagas) await saga(name, file);
  }
  for (const subject of only === 'sagas' ? [] : subjects)
    if (subject.onPostgres && subject.slow !== true) await backlog(subject);
  await admin.end();

  const groups = Map.groupBy(taken, (each) => `${each.case}\n${each.subject}\n${each.metric}`);
  const rows = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { case: name, subject, metric, unit } = first;
    return [
      rowOf(
        { case: name, subject, metric, unit },
        group.map(({ value }) => value),
      ),
    ];
  });
  rows.sort((a, b) => a.case.localeCompare(b.case) || a.metric.localeCompare(b.metric));
  const settings = [
    ...subjects.map(({ name, setting }) => [name, setting] as const),
    ...Object.entries(sagaSubjects).map(([name, { setting }]) => [`sagas of ${name}`, setting] as const),
    [
      'all',
      'PostgreSQL with default durability; producer and worker of the latencies in two processes',
    ] as const,
  ];
  return { rows, settings: Object.fromEntries(settings), raw: taken };
};
