import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, beforeAll, describe, test, type TestContext } from 'vitest';
import type { TriedJobDriver } from '../jobs/driver-suite/harness.ts';
import { jobDriverCases } from '../jobs/driver-suite/suite.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { noRedis, startRedis, type PrivateRedis } from '../redis/fixtures/redis-server.ts';
import { createBullmqJobs, type BullmqJobs, type BullmqJobsOptions } from './create-bullmq-jobs.ts';

const given = process.env['REDIS_URL'];
/** Short, so that what was killed begins again soon. */
const lockMs = 1_500;
let redis: PrivateRedis | undefined;
let url: string | undefined;
const prefix = `test-${process.pid}`;
const children = new Set<ChildProcess>();
const opened: BullmqJobs[] = [];

beforeAll(async () => {
  if (noRedis === undefined) redis = await startRedis();
  url = redis?.url ?? given;
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(opened.map((jobs) => jobs.close()));
  await redis?.stop();
});

/** Skips, with the reason, where there is no server. */
function needsRedis(ctx: TestContext): string {
  if (url === undefined) ctx.skip(`${noRedis} and no REDIS_URL`);
  return url ?? '';
}

async function startProcess(name: string): Promise<ChildProcess> {
  const child = fork(new URL('./fixtures/driver-process.ts', import.meta.url), [url ?? '', prefix, name], {
    execArgv: ['--conditions=plimsoll:source'],
    env: { ...process.env, LOCK_MS: String(lockMs) },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  await once(child, 'message');
  return child;
}

function driverOn(connection: BullmqJobsOptions['connection']): TriedJobDriver {
  return {
    open(names): Jobs {
      const jobs = createBullmqJobs({ connection, prefix, names });
      opened.push(jobs);
      return { ...jobs, work: (handlers, options) => jobs.work(handlers, { ...options, lockMs }) };
    },
    startProcess,
    // Twice the lock is promised; the rest is for a machine that is busy.
    takeoverMs: 2 * lockMs + 10_000,
  };
}

describe('with ioredis', () => {
  let client: Redis | undefined;
  afterAll(() => client?.disconnect());
  test.for(jobDriverCases)('$name', async (each, ctx) => {
    const server = needsRedis(ctx);
    client ??= new Redis(server, { maxRetriesPerRequest: null });
    await each.run(driverOn(client));
  });
});

describe('with node-redis', () => {
  let client: ReturnType<typeof createClient> | undefined;
  afterAll(() => client?.destroy());
  test.for(jobDriverCases)('$name', async (each, ctx) => {
    const server = needsRedis(ctx);
    if (client === undefined) {
      client = createClient({ url: server });
      client.on('error', () => undefined);
      await client.connect();
    }
    await each.run(driverOn(client));
  });
});
