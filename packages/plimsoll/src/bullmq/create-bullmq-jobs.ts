import type { ConnectionOptions } from 'bullmq';
import type { Database } from '../database/database.ts';
import { limitProblems } from '../durable/limits.ts';
import { newTaskId } from '../durable/task-id.ts';
import type { NewTask } from '../durable/task.ts';
import type { TaskHandler } from '../durable/worker.ts';
import { jobProblems, newJob } from '../jobs/job.ts';
import { uniqueProblems, type Jobs, type JobWorker, type NewJob } from '../jobs/jobs.ts';
import type { JobFunction } from '../jobs/running-job.ts';
import { createContext, currentContext } from '../kernel/context.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import { discardDeadLetters, listDeadLetters, replayDeadLetters } from './dead-letters.ts';
import { enqueue } from './enqueue.ts';
import { createQueues, type QueuesOptions } from './queues.ts';
import { refusedLimits, refusedOptions, unknownName } from './refused.ts';
import { relayHandler } from './relay.ts';
import { cancelJob, jobStatus } from './status.ts';
import { createBullmqWorker, type BullmqWorkerOptions } from './worker.ts';

export interface BullmqJobsOptions {
  /**
   * What BullMQ takes: best a client, of `ioredis` made with `maxRetriesPerRequest: null`, or of `redis`, which stays
   * yours. Of options BullMQ makes a connection for each queue, which `close` ends, and two for each name of a worker,
   * which end when that stops.
   */
  readonly connection: ConnectionOptions;
  /** The names of all jobs, each a queue. Any other is refused: a misspelt one would be a queue that nobody looks at. */
  readonly names: readonly string[];
  /** Before every key. Default `plimsoll`; in a cluster with a hash tag, `{plimsoll}`. */
  readonly prefix?: string;
  /** How long to wait for an answer of Redis. Default 5000. */
  readonly answerMs?: number;
  /** How long results are kept of jobs with `keepResult`. Default one day. */
  readonly keepResultsMs?: number;
  /** Whose reads in jobs go to no replica that lacks what was written before they began. Default: nobody's. */
  readonly database?: Pick<Database, 'seenUntilNow' | 'scope'>;
}

export const bullmqJobsDefaults = {
  prefix: 'plimsoll',
  answerMs: 5_000,
  keepResultsMs: 86_400_000,
} as const;

/** At most so many jobs are on their way to Redis at once, for one name of one `addAll`. */
const chunk = 1_000;

/** Jobs in Redis. */
export interface BullmqJobs extends Jobs {
  /** Of what its workers tell: for `logChannels`. That of the database, if there is one. */
  readonly scope: object;
  work(handlers: ReadonlyMap<string, JobFunction>, options?: BullmqWorkerOptions): JobWorker;
  /**
   * For a worker of PostgreSQL: hands jobs of these names over to Redis, each under its id, at least once. A job that
   * is enqueued in a transaction there is here when that has committed, and never otherwise.
   */
  relay(database: Database): TaskHandler;
  /** Ends what it has begun, but no worker and no client of yours. */
  close(): Promise<void>;
}

/** Jobs over BullMQ: what {@link Jobs} promises, but for what the page of this folder lists. */
export function createBullmqJobs(options: BullmqJobsOptions): BullmqJobs {
  const { connection, names, prefix, answerMs, keepResultsMs, database } = {
    ...bullmqJobsDefaults,
    ...options,
  };
  const given: QueuesOptions = { connection, names, prefix, answerMs };
  const queues = createQueues(given);
  const scope = database?.scope ?? {};
  const keptMs = (task: NewTask): number => (task.keepResult === true ? keepResultsMs : 0);

  function asTask({ name, input, ...of }: NewJob): NewTask {
    throwIfProblems(`the job ${name}`, [
      ...unknownName(name, queues.names),
      ...refusedOptions(of),
      ...jobProblems(of),
    ]);
    return newJob(currentContext() ?? createContext(), { ...of, id: newTaskId(), name, input });
  }

  /** Of one name. Not with `addBulk`, which over node-redis fails once after each restart of Redis (NOSCRIPT). */
  async function addMany(tasks: readonly NewTask[]): Promise<void> {
    for (let from = 0; from < tasks.length; from += chunk)
      await Promise.all(tasks.slice(from, from + chunk).map((task) => enqueue(queues, task, keptMs(task))));
  }

  /** Asks the queue of a name that may be unknown. */
  const ask: typeof queues.ask = async (name, work) => {
    throwIfProblems('the queue', unknownName(name, queues.names));
    return queues.ask(name, work);
  };

  return {
    scope,
    async add(name, input, of) {
      const task = asTask({ name, input, ...of });
      return enqueue(queues, task, keptMs(task), of?.unique?.onDuplicate);
    },
    async addAll(jobs) {
      const tasks = jobs.map(asTask);
      throwIfProblems('addAll', uniqueProblems(jobs));
      const byName = Map.groupBy(tasks, ({ name }) => name);
      await Promise.all([...byName.values()].map(addMany));
      return tasks.map(({ id }) => id);
    },
    cancel: (id, reason) => cancelJob(queues, id, reason, keepResultsMs),
    status: (id) => jobStatus(queues, id),
    deadLetters: (filter = {}, limit = 100) => listDeadLetters(queues, filter, limit),
    replay: (filter) => replayDeadLetters(queues, filter),
    discard: (filter) => discardDeadLetters(queues, filter),
    async limit(name, limits = {}) {
      const { concurrency, rate } = limits;
      throwIfProblems(`the limits of ${name}`, [...limitProblems(limits), ...refusedLimits(limits)]);
      await ask(name, async (queue) => {
        if (concurrency === undefined) await queue.removeGlobalConcurrency();
        else await queue.setGlobalConcurrency(concurrency);
        if (rate === undefined) await queue.removeGlobalRateLimit();
        else await queue.setGlobalRateLimit(rate.tasks, Math.ceil(rate.perMs));
      });
    },
    pause: (name) => ask(name, (queue) => queue.pause()),
    resume: (name) => ask(name, (queue) => queue.resume()),
    work: (handlers, of = {}) =>
      createBullmqWorker({ queues, scope, database, answerMs, handlers, options: of }),
    relay: (from) => relayHandler(queues, from, keepResultsMs),
    close: () => queues.close(),
  };
}
