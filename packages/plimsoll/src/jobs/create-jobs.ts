import type { Database } from '../database/database.ts';
import { sqlState } from '../database/failures.ts';
import { cancelTask, type CancelAnswer } from '../durable/cancel.ts';
import { coalesce } from '../durable/coalesce.ts';
import { discardParked, listParked, replayParked, type DeadLetter } from '../durable/dead-letters.ts';
import { setLimits, setPaused } from '../durable/limits.ts';
import { newTaskId } from '../durable/task-id.ts';
import { insertTasks, insertUnique, type NewTask, type OnDuplicate } from '../durable/task.ts';
import { createWakeUp } from '../durable/wake-up.ts';
import { createWorker, type Worker, type WorkerOptions } from '../durable/worker.ts';
import { createContext, currentContext } from '../kernel/context.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import { jobHandler, type TransactionalJob } from './job-handler.ts';
import { newJob, type JobOptions } from './job.ts';
import { uniqueProblems, type Jobs, type NewJob } from './jobs.ts';
import { jobIdPattern, jobStatus } from './receipt.ts';

/** At most so many jobs in one statement. */
const chunk = 1_000;

export interface JobsOptions {
  readonly database: Database;
  /** Called after jobs were committed. Default: tells the workers of all processes; give `worker.announce` where there is one. */
  readonly announce?: () => void;
}

/** Jobs in PostgreSQL. */
export interface PostgresJobs extends Jobs {
  /** Those added while others are being written share one statement. In a transaction of your own use `insertTasks`. */
  add(name: string, input: unknown, options?: JobOptions): Promise<string>;
  /** All of them or none. */
  addAll(jobs: readonly NewJob[]): Promise<readonly string[]>;
  /** What a function writes with `tx` and the end of its job commit together. */
  work(handlers: ReadonlyMap<string, TransactionalFunction>, options?: PostgresWorkerOptions): Worker;
}

export type TransactionalFunction = (input: never, job: TransactionalJob) => Promise<unknown>;
export type PostgresWorkerOptions = Omit<WorkerOptions, 'database' | 'handlers'>;

export function createJobs({ database, announce = createWakeUp(database) }: JobsOptions): PostgresJobs {
  const write = coalesce<NewTask, undefined>(
    async (tasks) => {
      await database.execute(insertTasks(tasks));
      announce();
      return [];
    },
    { maxItems: chunk, isOfOne: isOfOneRow },
  );

  async function addUnique(job: NewTask, onDuplicate: OnDuplicate = 'keep'): Promise<string> {
    const { id } = await database.one<{ id: string }>(insertUnique(job, onDuplicate));
    announce();
    return id;
  }

  return {
    async add(name, input, options) {
      const job = asTask({ name, input, ...options });
      if (options?.unique !== undefined) return addUnique(job, options.unique.onDuplicate);
      await write(job);
      return job.id;
    },
    async addAll(jobs) {
      const tasks = jobs.map(asTask);
      throwIfProblems('addAll', uniqueProblems(jobs));
      await database.transaction(async (tx) => {
        for (let from = 0; from < tasks.length; from += chunk)
          await tx.execute(insertTasks(tasks.slice(from, from + chunk)));
      });
      if (tasks.length > 0) announce();
      return tasks.map(({ id }) => id);
    },
    async cancel(id, reason) {
      if (!jobIdPattern.test(id)) return undefined;
      return database.maybeOne<CancelAnswer>(cancelTask(id, reason));
    },
    status: (id) => jobStatus(database, id),
    deadLetters: (filter = {}, limit = 100) => database.query<DeadLetter>(listParked(filter, limit)),
    async replay(filter) {
      const replayed = await database.execute(replayParked(filter));
      if (replayed > 0) announce();
      return replayed;
    },
    discard: async (filter) => database.execute(discardParked(filter)),
    limit: async (name, limits) => void (await database.execute(setLimits(name, limits))),
    pause: async (name) => void (await database.execute(setPaused(name, true))),
    async resume(name) {
      await database.execute(setPaused(name, false));
      announce();
    },
    work: (handlers, options) =>
      createWorker({
        ...options,
        database,
        handlers: new Map([...handlers].map(([name, run]) => [name, jobHandler(database, run)])),
      }),
  };
}

function asTask({ name, input, ...options }: NewJob): NewTask {
  return newJob(currentContext() ?? createContext(), { ...options, id: newTaskId(), name, input });
}

/**
 * Data that is no JSON (a TypeError, before it is sent), that the server cannot take (class 22), or that a constraint
 * refuses (23): of one of them, not of all.
 */
function isOfOneRow(error: unknown): boolean {
  return error instanceof TypeError || /^2[23]/.test(sqlState(error) ?? '');
}
