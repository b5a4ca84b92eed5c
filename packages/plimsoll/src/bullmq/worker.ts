import { WaitingError, Worker as BullWorker } from 'bullmq';
import type { Database } from '../database/database.ts';
import { backoffMs } from '../durable/backoff.ts';
import { createLoop } from '../durable/loop.ts';
import type { JobWorker, JobWorkerOptions } from '../jobs/jobs.ts';
import type { JobFunction } from '../jobs/running-job.ts';
import { background } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { PlimsollError, throwIfProblems, type Problem } from '../kernel/errors.ts';
import { extendLifecycle } from '../kernel/lifecycle.ts';
import { createTimeout } from '../timeout/timeout.ts';
import type { JobData, Kept } from './job-data.ts';
import { JobFailure } from './job-failure.ts';
import type { Queues } from './queues.ts';
import { unknownName } from './refused.ts';
import { createJobRunner, type Held } from './run-job.ts';

export interface BullmqWorkerOptions extends JobWorkerOptions {
  /** Jobs of each name under way at once. Default 8. */
  readonly concurrency?: number;
  /**
   * For how long a job is ours without a sign of us, which is sent every half of it. Once a process is dead, its jobs
   * begin again within twice this; a process whose event loop is blocked for longer loses them too. Default 10_000.
   */
  readonly lockMs?: number;
}

export const bullmqWorkerDefaults = { concurrency: 8, drainMs: 10_000, lockMs: 10_000 } as const;

/** How often to look whether somebody wants to end what runs. */
const pollMs = 500;
/** How long at most what has changed without a word of BullMQ (a limit that was lifted) goes unnoticed. */
const noticeMs = 1_000;
/** Deaths are tries of the job, which has a number of them: BullMQ need not count. */
const endless = 2 ** 31;

type BullmqWorker = BullWorker<JobData, Kept | undefined>;

export interface CreateWorkerOptions {
  readonly queues: Queues;
  readonly scope: object;
  readonly database: Pick<Database, 'seenUntilNow'> | undefined;
  readonly answerMs: number;
  readonly handlers: ReadonlyMap<string, JobFunction>;
  readonly options: BullmqWorkerOptions;
}

/** A worker of BullMQ for each name, as one. */
export function createBullmqWorker(given: CreateWorkerOptions): JobWorker {
  const { queues, scope, handlers } = given;
  const { concurrency, drainMs, lockMs, backoff = {} } = { ...bullmqWorkerDefaults, ...given.options };
  throwIfProblems('the worker', [
    ...[...handlers.keys()].flatMap((name) => unknownName(name, queues.names)),
    ...impatient(queues.connection),
    ...aboveZero({ concurrency, lockMs }),
  ]);
  const held = new Set<Held>();
  const answer = createTimeout({ name: 'Redis', ms: given.answerMs });
  let workers: readonly BullmqWorker[] = [];
  // From the beginning of a drain until everything is closed.
  let closing: Promise<void> | undefined;
  const runner = createJobRunner({ ...given, backoff, held, stopping: () => closing !== undefined });

  function report(what: string): (error: unknown) => void {
    return (error) => background.publish({ scope, what, error });
  }

  function createWorker(name: string, work: JobFunction): BullmqWorker {
    const worker: BullmqWorker = new BullWorker(name, (job, token = '') => runner.run(work, job, token), {
      connection: queues.connection,
      prefix: queues.prefix,
      autorun: false,
      concurrency,
      lockDuration: lockMs,
      stalledInterval: lockMs / 2,
      maxStalledCount: endless,
      drainDelay: noticeMs / 1_000,
      maximumRateLimitDelay: noticeMs,
      runRetryDelay: noticeMs,
      settings: {
        backoffStrategy: (tries, _type, error) =>
          error instanceof JobFailure ? error.delayMs : Math.ceil(backoffMs(tries, backoff, Math.random)),
      },
    });
    worker.on('error', report(`BullMQ worker of ${name}`));
    worker.on('completed', (job) => runner.recorded(job));
    worker.on('failed', (job) => job && runner.recorded(job));
    worker.on('lockRenewalFailed', lose);
    return worker;
  }

  function lose(ids: readonly string[]): void {
    for (const one of held) {
      if (!ids.includes(one.job.id ?? '')) continue;
      one.lost = true;
      one.cancellation.cancel(lostError(one));
    }
  }

  /** Ends what somebody wants to end. */
  async function hearCancellations(): Promise<void> {
    const running = [...held].filter(({ cancelReason }) => cancelReason === undefined);
    await Promise.all(
      running.map(async (one) => {
        const { id = '', queueName: name } = one.job;
        const reason = (await queues.ask(name, (queue) => queue.getJob(id)))?.data.cancelReason;
        if (reason === undefined) return;
        one.cancelReason = reason;
        one.cancellation.cancel(new PlimsollError('PL_ABORTED', `job ${name} ${id}: cancelled: ${reason}`));
      }),
    );
  }

  async function start(): Promise<void> {
    closing = undefined;
    workers = [...handlers].map(([name, work]) => createWorker(name, work));
    await answer.run(() => Promise.all(workers.map((worker) => worker.waitUntilReady())));
    for (const worker of workers) worker.run().catch(report(`BullMQ worker of ${worker.name}`));
  }

  /** Resolves when all have, or when the time is over. */
  async function within(ms: number, all: readonly Promise<void>[]): Promise<void> {
    const ended = new AbortController();
    await Promise.race([Promise.all(all), systemClock.sleep(ms, ended.signal)]);
    ended.abort();
  }

  /** From here on none begins: BullMQ asks for no more, and what it has asked for is given back. */
  function close(): Promise<void> {
    closing ??= Promise.all(workers.map((worker) => worker.close())).then(() => undefined);
    return closing;
  }

  async function drain(): Promise<void> {
    void close();
    await within(
      drainMs,
      [...held].map(({ ended }) => ended),
    );
  }

  async function giveBack(one: Held): Promise<void> {
    one.cancellation.cancel(lostError(one));
    try {
      await answer.run(() => one.job.moveToWait(one.token));
    } catch (error) {
      // It comes back by itself, when its lock is over.
      report(`giving back job ${one.job.queueName} ${one.job.id}`)(error);
    }
    one.leave(new WaitingError());
  }

  async function stop(): Promise<void> {
    const closed = close();
    await Promise.all([...held].map(giveBack));
    // While Redis does not answer, what was asked of it keeps BullMQ from closing; it does when that is answered.
    await within(given.answerMs, [closed]);
    workers = [];
  }

  const loop = createLoop({
    name: 'looking for cancelled jobs in BullMQ',
    scope,
    pollMs,
    async round() {
      await hearCancellations();
      return false;
    },
    // What BullMQ begins inherits no request of whoever starts it.
    onStart: () => runInContext(createContext(), start),
    onDrain: drain,
    onStop: stop,
  });
  return extendLifecycle(loop, { status: () => ({ running: held.size }) });
}

function lostError({ job }: Held): PlimsollError {
  return new PlimsollError('PL_TASK_LOST', `job ${job.queueName} ${job.id}: this worker no longer has it`);
}

/** What BullMQ would throw itself, and leave a connection open that it has just made. */
function impatient(connection: Queues['connection']): Problem[] {
  const { options } = connection as { readonly options?: RetryOptions };
  const retries = options?.maxRetriesPerRequest ?? options?.redisOptions?.maxRetriesPerRequest ?? null;
  if (!('defineCommand' in connection) || retries === null) return [];
  return [
    {
      path: 'connection',
      message: `has maxRetriesPerRequest ${retries}, and a worker waits for longer; make the client of ioredis with maxRetriesPerRequest: null`,
    },
  ];
}

interface RetryOptions {
  readonly maxRetriesPerRequest?: number | null;
  readonly redisOptions?: { readonly maxRetriesPerRequest?: number | null };
}

function aboveZero(options: Readonly<Record<string, number>>): Problem[] {
  return Object.entries(options)
    .filter(([, value]) => !(Number.isFinite(value) && value >= 1))
    .map(([path, value]) => ({ path, message: `is ${value}; give a number from 1` }));
}
