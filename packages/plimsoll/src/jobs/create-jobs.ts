import type { Database } from '../database/database.ts';
import { sqlState } from '../database/failures.ts';
import { cancelTask, type CancelAnswer } from '../durable/cancel.ts';
import { coalesce } from '../durable/coalesce.ts';
import {
  discardParked,
  listParked,
  replayParked,
  type DeadLetter,
  type ParkedFilter,
} from '../durable/dead-letters.ts';
import { newTaskId } from '../durable/task-id.ts';
import { setLimits, setPaused, type QueueLimits } from '../durable/limits.ts';
import { insertTasks, insertUnique, type NewTask, type OnDuplicate } from '../durable/task.ts';
import { createWakeUp } from '../durable/wake-up.ts';
import { createContext, currentContext } from '../kernel/context.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import { newJob, type JobOptions } from './job.ts';
import { jobStatus, type JobStatus } from './receipt.ts';

/** At most so many jobs in one statement. */
const chunk = 1_000;

export interface JobsOptions {
  readonly database: Database;
  /** Called after jobs were committed. Default: tells the workers of all processes; give `worker.announce` where there is one. */
  readonly announce?: () => void;
}

/** Jobs from outside of transactions: enqueued, looked at and dealt with by who operates them. */
export interface Jobs {
  /**
   * Enqueues one; resolves with its id when it is committed. Those added while others are being written share one
   * statement, so many callers cost little more than one. With `unique`, the id is that of the job that is there. In a transaction of your own use `insertTasks`.
   */
  add(name: string, input: unknown, options?: JobOptions): Promise<string>;
  /** Enqueues all of them or none; resolves with their ids. PL_CONFIG for one with `unique`: add those one by one. */
  addAll(jobs: readonly NewJob[]): Promise<readonly string[]>;
  /** Undefined when there is none of that id that has not ended. */
  cancel(id: string, reason: string): Promise<CancelAnswer | undefined>;
  status(id: string): Promise<JobStatus | undefined>;
  /** The newest first; at most `limit`, by default 100. */
  deadLetters(filter?: ParkedFilter, limit?: number): Promise<readonly DeadLetter[]>;
  /** Dead letters back to work; returns how many. */
  replay(filter: ParkedFilter): Promise<number>;
  /** Deletes dead letters; returns how many. PL_CONFIG for an empty filter. */
  discard(filter: ParkedFilter): Promise<number>;
  /** Sets what holds for all jobs of a name, instead of what held before; `undefined` lifts it. Within half a second. */
  limit(name: string, limits: QueueLimits | undefined): Promise<void>;
  /** From then on no job of the name begins, within half a second; what is under way ends. */
  pause(name: string): Promise<void>;
  resume(name: string): Promise<void>;
}

export interface NewJob extends JobOptions {
  /** The command's id, or the name of a handler. */
  readonly name: string;
  readonly input: unknown;
}

export function createJobs({ database, announce = createWakeUp(database) }: JobsOptions): Jobs {
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
      throwIfProblems(
        'addAll',
        jobs.flatMap(({ unique }, index) =>
          unique === undefined ? [] : [{ path: `${index}.unique`, message: 'is for add(), one by one' }],
        ),
      );
      await database.transaction(async (tx) => {
        for (let from = 0; from < tasks.length; from += chunk)
          await tx.execute(insertTasks(tasks.slice(from, from + chunk)));
      });
      if (tasks.length > 0) announce();
      return tasks.map(({ id }) => id);
    },
    cancel: (id, reason) => database.maybeOne<CancelAnswer>(cancelTask(id, reason)),
    status: (id) => jobStatus(database, id),
    deadLetters: (filter = {}, limit = 100) => database.query<DeadLetter>(listParked(filter, limit)),
    async replay(filter) {
      const replayed = await database.execute(replayParked(filter));
      if (replayed > 0) announce();
      return replayed;
    },
    discard: (filter) => database.execute(discardParked(filter)),
    limit: async (name, limits) => void (await database.execute(setLimits(name, limits))),
    pause: async (name) => void (await database.execute(setPaused(name, true))),
    async resume(name) {
      await database.execute(setPaused(name, false));
      announce();
    },
  };
}

function asTask({ name, input, ...options }: NewJob): NewTask {
  return newJob(currentContext() ?? createContext(), { ...options, id: newTaskId(), name, input });
}

/** Data that the server cannot take (class 22), or that a constraint refuses (23): of one of them, not of all. */
function isOfOneRow(error: unknown): boolean {
  return /^2[23]/.test(sqlState(error) ?? '');
}
