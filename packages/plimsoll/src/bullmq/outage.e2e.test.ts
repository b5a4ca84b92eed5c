import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { JobWorker } from '../jobs/jobs.ts';
import { noRedis, startRedis, type PrivateRedis } from '../redis/fixtures/redis-server.ts';
import { createBullmqJobs, type BullmqJobs, type BullmqJobsOptions } from './create-bullmq-jobs.ts';

/** A client that comes back soon. */
interface Opened {
  readonly connection: BullmqJobsOptions['connection'];
  readonly ready: () => boolean;
  readonly close: () => void;
}

function withIoredis(url: string): Opened {
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 20 });
  client.on('error', () => undefined);
  return { connection: client, ready: () => client.status === 'ready', close: () => client.disconnect() };
}

function withNodeRedis(url: string): Opened {
  const client = createClient({ url, socket: { reconnectStrategy: 20 } });
  client.on('error', () => undefined);
  return { connection: client, ready: () => client.isReady, close: () => client.destroy() };
}

const prefix = 'mine';
const lockMs = 1_500;
const soon = { timeout: 20_000, interval: 10 };
let names = 0;

describe.each([
  { of: 'ioredis', open: withIoredis },
  { of: 'node-redis', open: withNodeRedis },
])('with $of', ({ open }) => {
  let server: PrivateRedis;
  let opened: Opened;
  let jobs: BullmqJobs;
  let name = '';

  beforeAll(async () => {
    if (noRedis !== undefined) return;
    server = await startRedis({ durable: true });
    opened = open(server.url);
  });
  afterAll(async () => {
    opened?.close();
    await server?.stop();
  });
  beforeEach((ctx) => {
    // They end and freeze their server, which a given one is not for.
    if (noRedis !== undefined) ctx.skip(noRedis);
    name = `work.${(names += 1)}`;
    jobs = createBullmqJobs({ connection: opened.connection, names: [name], prefix, answerMs: 10_000 });
    return () => jobs.close();
  });

  const hurried = (): BullmqJobs =>
    createBullmqJobs({ connection: opened.connection, names: [name], prefix, answerMs: 1_000 });

  async function start(run: (input: unknown) => Promise<unknown>, concurrency = 8): Promise<JobWorker> {
    const worker = jobs.work(new Map([[name, run]]), {
      lockMs,
      concurrency,
      backoff: { baseMs: 1, maxMs: 2 },
    });
    await worker.start();
    return worker;
  }

  test('frozen: whoever asks has PL_TIMEOUT, a worker stops, and afterwards all goes on', async () => {
    const frozen = hurried();
    const known = await jobs.add(name, 'before');
    const worker = frozen.work(new Map([[name, async () => undefined]]), { lockMs });
    await worker.start();
    await expect.poll(() => jobs.status(known), soon).toBeUndefined();
    await server.signal('SIGSTOP');
    try {
      const asked = await Promise.allSettled([
        frozen.add(name, 'asked'),
        frozen.addAll([{ name, input: 'asked' }]),
        frozen.add(name, 'asked', { unique: { key: 'k', onDuplicate: 'replace' } }),
        frozen.status(known),
        frozen.cancel(known, 'no'),
        frozen.deadLetters(),
        frozen.replay({}),
        frozen.discard({ name }),
        frozen.pause(name),
        frozen.limit(name, undefined),
      ]);
      for (const each of asked)
        expect(each).toMatchObject({
          reason: {
            code: 'PL_TIMEOUT',
            message: 'Redis did not answer within its 1000 ms; what was asked may or may not have been done',
          },
        });
      await worker.stop();
    } finally {
      await server.signal('SIGCONT');
    }
    await jobs.resume(name);
    const ran: unknown[] = [];
    await using _worker = await start(async (input) => void ran.push(input));
    await jobs.add(name, 'after');
    await expect.poll(() => ran, soon).toContain('after');
    await frozen.close();
  });

  test('away: what was given up while there was no connection is not sent later; what waits is', async () => {
    const away = hurried();
    await jobs.add(name, 'before');
    await server.signal('SIGKILL');
    await expect.poll(opened.ready, soon).toBe(false);
    await expect(away.add(name, 'given up')).rejects.toMatchObject({ code: 'PL_TIMEOUT' });
    const patient = jobs.add(name, 'waited');
    await server.restart();
    await patient;
    const ran: unknown[] = [];
    await using _worker = await start(async (input) => void ran.push(input));
    await jobs.add(name, 'after', { priority: 1 });
    await expect.poll(() => ran, soon).toEqual(['before', 'waited', 'after']);
    await away.close();
  });

  test('restarted in the midst of work: all that was accepted is run, and nothing is left', async () => {
    const ran = new Map<unknown, number>();
    await using _worker = await start(async (input) => {
      ran.set(input, (ran.get(input) ?? 0) + 1);
    }, 2);
    const accepted: number[] = [];
    let n = 0;
    for (const part of [50, 100, 150]) {
      while (accepted.length < part) {
        const batch = Array.from({ length: 10 }, () => (n += 1));
        await jobs.addAll(batch.map((input) => ({ name, input })));
        accepted.push(...batch);
      }
      await server.signal('SIGKILL');
      await server.restart();
    }
    await expect.poll(() => accepted.filter((input) => !ran.has(input)), soon).toEqual([]);
    const queue = new Queue(name, { connection: opened.connection, prefix });
    const left = async (): Promise<number> =>
      Object.values(await queue.getJobCounts('waiting', 'active', 'delayed', 'prioritized', 'failed')).reduce(
        (sum, count) => sum + count,
        0,
      );
    await expect.poll(left, soon).toBe(0);
    await queue.close();
  });
});
