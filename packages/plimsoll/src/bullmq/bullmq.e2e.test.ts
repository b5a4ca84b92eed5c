import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test, type TestContext } from 'vitest';
import { cancel, retry, snooze } from '../durable/outcome.ts';
import { newTaskId } from '../durable/task-id.ts';
import { newJob } from '../jobs/job.ts';
import type { RunningJob } from '../jobs/running-job.ts';
import {
  background,
  tasks as taskChannel,
  type BackgroundMessage,
  type TaskMessage,
} from '../kernel/channels.ts';
import { createContext, currentContext, runInContext } from '../kernel/context.ts';
import { Seen } from '../kernel/seen.ts';
import { noRedis, startRedis, type PrivateRedis } from '../redis/fixtures/redis-server.ts';
import { stress } from '../testing/stress.ts';
import { createBullmqJobs, type BullmqJobs } from './create-bullmq-jobs.ts';
import { enqueue } from './enqueue.ts';
import { createQueues, type Queues } from './queues.ts';
import { createJobRunner } from './run-job.ts';

const prefix = 'mine';
const lockMs = 1_500;
const soon = { timeout: 20_000, interval: 10 };
let redis: PrivateRedis | undefined;
let client: Redis;
let jobs: BullmqJobs;
let names = 0;
let name = '';

beforeAll(async () => {
  if (noRedis !== undefined) return;
  redis = await startRedis();
  client = new Redis(redis.url, { maxRetriesPerRequest: null, retryStrategy: () => 20 });
  client.on('error', () => undefined);
});
afterAll(async () => {
  client?.disconnect();
  await redis?.stop();
});
beforeEach((ctx) => {
  needsRedis(ctx);
  name = `work.${(names += 1)}`;
  jobs = createBullmqJobs({ connection: client, names: [name], prefix, answerMs: 10_000 });
  return () => jobs.close();
});

/** Skips, with the reason, where no server can be started. */
function needsRedis(ctx: TestContext): PrivateRedis {
  if (redis === undefined) ctx.skip(noRedis);
  return redis!;
}

type Run = (input: unknown, job: RunningJob) => Promise<unknown>;
async function start(run: Run, concurrency = 8): Promise<ReturnType<BullmqJobs['work']>> {
  const worker = jobs.work(new Map([[name, run]]), { lockMs, concurrency, backoff: { baseMs: 1, maxMs: 2 } });
  await worker.start();
  return worker;
}

describe('what BullMQ has nothing for is refused, with what to do', () => {
  test.each([
    [{ orderKey: 'a' }, 'orderKey: is "a"; BullMQ keeps no order by key'],
    [{ onPark: 'skip' }, 'onPark: is "skip"; BullMQ keeps no order by key'],
    [{ groupKey: 'a' }, 'groupKey: is "a"; BullMQ counts by name only'],
  ] as const)('of a job: %j', async (options, message) => {
    const refused = jobs.add(name, 1, { ...options, maxAttempts: 0 });
    await expect(refused).rejects.toMatchObject({ code: 'PL_CONFIG' });
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toThrow('or enqueue with createJobs of plimsoll/jobs');
    // All that is wrong at once.
    await expect(refused).rejects.toThrow('maxAttempts: is 0');
  });

  test.each([
    [{ perGroup: { concurrency: 1 } }, 'perGroup: is {"concurrency":1}; BullMQ counts by name only'],
    [{ turns: true }, 'turns: is true; BullMQ knows no turns'],
  ])('of limits: %j', async (limits, message) => {
    await expect(jobs.limit(name, limits)).rejects.toThrow(message);
  });

  test('a name that was not listed, wherever it is said', async () => {
    const message = `name: is "wrok"; give one of ${name}, or add it to \`names\``;
    const refused = [
      jobs.add('wrok', 1),
      jobs.addAll([{ name: 'wrok', input: 1 }]),
      jobs.deadLetters({ name: 'wrok' }),
      jobs.replay({ name: 'wrok' }),
      jobs.discard({ name: 'wrok' }),
      jobs.limit('wrok', {}),
      jobs.pause('wrok'),
      jobs.resume('wrok'),
    ];
    for (const each of await Promise.allSettled(refused)) {
      expect(each.status).toBe('rejected');
      expect(String((each as PromiseRejectedResult).reason)).toContain(message);
    }
    expect(() => jobs.work(new Map([['wrok', async () => undefined]]))).toThrow(message);
  });

  test('options of the driver and of a worker', () => {
    const wrong =
      (more: object): (() => void) =>
      () =>
        void createBullmqJobs({ connection: client, names: ['a'], ...more });
    expect(wrong({ names: [] })).toThrow('names: is empty');
    expect(wrong({ names: ['a:b', ''] })).toThrow('has "a:b"; give names that are not empty and have no ":"');
    expect(wrong({ answerMs: 0 })).toThrow('answerMs: is 0; give milliseconds above 0');
    expect(() => jobs.work(new Map(), { lockMs: 0, concurrency: NaN })).toThrow(
      /concurrency: is NaN[^]*lockMs: is 0/,
    );
  });
});

describe('what somebody else has put into a queue', () => {
  test('is a dead letter at once, and holds up no other', async () => {
    const foreign = new Queue(name, { connection: client, prefix });
    try {
      for (const data of [5, null, { input: 1 }, { input: 1, correlationId: 'a', caller: 'b' }])
        await foreign.add('other', data, { attempts: 5 });
      const ran: unknown[] = [];
      await using _worker = await start(async (input) => void ran.push(input));
      await jobs.add(name, 'ours');
      await expect.poll(() => ran, soon).toEqual(['ours']);
      await expect.poll(() => jobs.deadLetters({ errorCode: 'PL_PAYLOAD_INVALID' }), soon).toHaveLength(4);
      const letters = await jobs.deadLetters();
      expect(letters.map(({ payload, attempts }) => [payload, attempts])).toContainEqual([5, 1]);
      expect(letters[0]?.error?.message).toContain('is not that of a job added by createBullmqJobs');
    } finally {
      await foreign.close();
    }
  });

  test('what cannot even be read holds up no other', async () => {
    const id = await jobs.add(name, 'broken');
    await client.hset(`${prefix}:${name}:${id}`, 'data', '{"input":');
    const ran: unknown[] = [];
    await using _worker = await start(async (input) => void ran.push(input), 1);
    await jobs.add(name, 1);
    await jobs.add(name, 2);
    await expect.poll(() => ran, soon).toEqual([1, 2]);
  });
});

test('keys have the prefix, and a done job leaves none of its own', async () => {
  await using _worker = await start(async () => 1);
  const id = await jobs.add(name, 1, { unique: { key: 'k' } });
  await expect.poll(() => jobs.status(id), soon).toBeUndefined();
  const keys = await client.keys(`*${name}*`);
  expect(keys.filter((key) => !key.startsWith(`${prefix}:${name}:`))).toEqual([]);
  expect(keys.filter((key) => key.includes(id) || key.includes(':de:'))).toEqual([]);
});

test('results, and that one was cancelled, are kept for as long as was said', async () => {
  const short = createBullmqJobs({ connection: client, names: [name], prefix, keepResultsMs: 1_000 });
  try {
    await using _worker = await start(async () => 1);
    const done = await short.add(name, 1, { keepResult: true });
    const cancelled = await short.add(name, 1, { keepResult: true, delayMs: 3_600_000 });
    await short.cancel(cancelled, 'no');
    await expect.poll(() => short.status(done), soon).toMatchObject({ state: 'done', result: 1 });
    expect(await short.status(cancelled)).toMatchObject({ state: 'cancelled' });
    await expect.poll(() => short.status(cancelled), soon).toBeUndefined();
    // BullMQ clears away the old ones when another one ends.
    await expect
      .poll(async () => {
        await short.add(name, 1, { keepResult: true });
        return short.status(done);
      }, soon)
      .toBeUndefined();
  } finally {
    await short.close();
  }
});

test('tells of each try how it ended, with the correlation id of whoever enqueued it', async () => {
  const told: Partial<TaskMessage>[] = [];
  const stop = taskChannel.subscribe(({ scope, outcome, attempt, correlationId, kind, error }) => {
    if (scope === jobs.scope)
      told.push({
        outcome,
        attempt,
        correlationId,
        kind,
        ...(error instanceof Error ? { error: `${error.name}: ${error.message}` } : {}),
      });
  });
  try {
    const answers: Record<string, readonly unknown[]> = {
      well: [snooze(1), 'done'],
      badly: [retry({ delayMs: 0, reason: 'closed' }), new Error('no')],
      never: [cancel('gone')],
      unkept: [1n],
    };
    await using _worker = await start(async (input) => {
      const [next, ...later] = answers[input as string] ?? [];
      answers[input as string] = later;
      if (next instanceof Error) throw next;
      return next;
    });
    for (const input of Object.keys(answers)) {
      const context = createContext({ correlationId: `request-${input}` });
      await runInContext(context, () =>
        jobs.add(name, input, { maxAttempts: input === 'unkept' ? 1 : 2, keepResult: true }),
      );
    }
    await expect.poll(() => told.length, soon).toBe(6);
    const of = (input: string): unknown[] =>
      told
        .filter(({ correlationId }) => correlationId === `request-${input}`)
        .map(({ outcome, attempt, kind, error }) => [outcome, attempt, kind, error]);
    expect(of('well')).toEqual([
      ['snoozed', 1, 'job', undefined],
      ['done', 1, 'job', undefined],
    ]);
    expect(of('badly')).toEqual([
      ['retry', 1, 'job', 'OutcomeReturned: retry: closed'],
      ['parked', 2, 'job', 'Error: no'],
    ]);
    expect(of('never')).toEqual([['cancelled', 1, 'job', undefined]]);
    expect(of('unkept')).toEqual([['parked', 1, 'job', expect.stringContaining('BigInt') as string]]);
  } finally {
    stop();
  }
});

test('a job whose lock is gone hears of it, its end is refused, and another one runs it', async () => {
  const told: string[] = [];
  const stopTasks = taskChannel.subscribe(({ scope, outcome }) => {
    if (scope === jobs.scope) told.push(outcome);
  });
  const errors: string[] = [];
  const stopErrors = background.subscribe(({ scope, error }: BackgroundMessage) => {
    if (scope === jobs.scope) errors.push(String(error));
  });
  try {
    const tries: number[] = [];
    let reason: unknown;
    await using _worker = await start(async (_input, { task, signal }) => {
      tries.push(task.attempt);
      if (task.attempt > 1) return;
      await client.del(`${prefix}:${name}:${task.id}:lock`);
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      reason = signal.reason;
    });
    const id = await jobs.add(name, 1, { keepResult: true });
    await expect.poll(() => jobs.status(id), soon).toMatchObject({ state: 'done' });
    expect(tries).toEqual([1, 2]);
    expect(reason).toMatchObject({ code: 'PL_TASK_LOST' });
    await expect.poll(() => told, soon).toEqual(['lost', 'done']);
    expect(errors.join()).toContain('could not renew lock');
  } finally {
    stopTasks();
    stopErrors();
  }
});

test('a job that gets a new input after BullMQ has handed it out, and before it has begun, runs with that', async () => {
  const id = await jobs.add(name, 'old', { unique: { key: 'k' } });
  const puller = new Worker(name, null, { connection: client, prefix, autorun: false });
  const queues = createQueues({ connection: client, names: [name], prefix, answerMs: 10_000 });
  try {
    const taken = await puller.getNextJob('token');
    expect(taken?.data.input).toBe('old');
    expect(await jobs.add(name, 'new', { unique: { key: 'k', onDuplicate: 'replace' } })).toBe(id);
    const runner = createJobRunner({
      queues,
      scope: {},
      database: undefined,
      backoff: {},
      held: new Set(),
      stopping: () => false,
    });
    const ran: unknown[] = [];
    await runner.run(async (input) => void ran.push(input), taken, 'token');
    expect(ran).toEqual(['new']);
    // From its beginning on another one is another job.
    expect(await jobs.add(name, 'next', { unique: { key: 'k', onDuplicate: 'replace' } })).not.toBe(id);
  } finally {
    await puller.close();
    await queues.close();
  }
});

test('a new input for a job that begins before it gets it is another job', async () => {
  const ran: unknown[] = [];
  const go = Promise.withResolvers<void>();
  await using _worker = await start(async (input) => {
    ran.push(input);
    await go.promise;
  });
  await jobs.pause(name);
  const id = await jobs.add(name, 'old', { unique: { key: 'k' } });
  const queues = createQueues({ connection: client, names: [name], prefix, answerMs: 10_000 });
  let asked = 0;
  const slow: Queues = {
    ...queues,
    async ask(of, work) {
      asked += 1;
      if (asked === 2) {
        // It has been told which job is there, and has not changed it yet.
        await jobs.resume(name);
        await expect.poll(() => ran, soon).toEqual(['old']);
      }
      return queues.ask(of, work);
    },
  };
  try {
    const next = newJob(createContext(), { id: newTaskId(), name, input: 'new', unique: { key: 'k' } });
    expect(await enqueue(slow, next, 0, 'replace')).toBe(next.id);
    expect(next.id).not.toBe(id);
    await expect.poll(() => ran, soon).toEqual(['old', 'new']);
  } finally {
    go.resolve();
    await queues.close();
  }
});

test('a dead letter that somebody wanted to end in its last try runs when it is replayed', async () => {
  const ran: number[] = [];
  await using _worker = await start(async (_input, { task }) => {
    ran.push(task.attempt);
    if (ran.length > 1) return;
    expect(await jobs.cancel(task.id, 'too late')).toEqual({ state: 'asked' });
    throw new Error('failed before it heard');
  });
  const id = await jobs.add(name, 1, { maxAttempts: 1 });
  await expect.poll(() => jobs.status(id), soon).toMatchObject({ state: 'failed' });
  await jobs.replay({ ids: [id] });
  await expect.poll(() => ran, soon).toEqual([1, 1]);
  await expect.poll(() => jobs.status(id), soon).toBeUndefined();
});

test('a worker survives starts and stops at any time', async () => {
  await stress(jobs.work(new Map([[name, async () => undefined]]), { lockMs }));
});

test('a client that a worker cannot wait with is refused, and does to enqueue', async (ctx) => {
  const { url } = needsRedis(ctx);
  const impatient = new Redis(url);
  const other = createBullmqJobs({ connection: impatient, names: [name], prefix });
  try {
    expect(() => other.work(new Map([[name, async () => undefined]]))).toThrow(
      'connection: has maxRetriesPerRequest 20, and a worker waits for longer',
    );
    expect(await jobs.status(await other.add(name, 1))).toMatchObject({ state: 'queued' });
  } finally {
    await other.close();
    impatient.disconnect();
  }
});

test('with a database, a job has seen what was committed before it began, and tells under its scope', async () => {
  const seen = new Seen();
  const database = { scope: {}, seenUntilNow: () => seen };
  const other = createBullmqJobs({ connection: client, names: [name], prefix, database });
  const had: unknown[] = [];
  const worker = other.work(new Map([[name, async () => void had.push(currentContext()?.seen)]]), { lockMs });
  await worker.start();
  try {
    await other.add(name, 1);
    await expect.poll(() => had, soon).toHaveLength(1);
    expect(had[0]).toBe(seen);
    expect(other.scope).toBe(database.scope);
  } finally {
    await worker.stop();
    await other.close();
  }
});

test('two with other prefixes in one Redis know nothing of each other', async () => {
  const other = createBullmqJobs({ connection: client, names: [name], prefix: 'yours' });
  try {
    const id = await other.add(name, 1);
    expect(await jobs.status(id)).toBeUndefined();
    expect(await other.status(id)).toMatchObject({ state: 'queued' });
  } finally {
    await other.close();
  }
});

test('connections that BullMQ makes of options end with close', async (ctx) => {
  const { port } = needsRedis(ctx);
  const own = createBullmqJobs({ connection: { host: '127.0.0.1', port }, names: [name], prefix });
  const clients = async (): Promise<number> =>
    Number(/connected_clients:(\d+)/.exec(await client.info('clients'))?.[1]);
  const before = await clients();
  const worker = own.work(new Map([[name, async () => 'done']]), { lockMs });
  await worker.start();
  const id = await own.add(name, 1, { keepResult: true });
  await expect.poll(() => own.status(id), soon).toMatchObject({ state: 'done' });
  expect(await clients()).toBeGreaterThan(before);
  await worker.stop();
  await own.close();
  await expect.poll(clients, soon).toBe(before);
});
