import type { BackoffOptions } from '../durable/backoff.ts';
import type { CancelAnswer } from '../durable/cancel.ts';
import type { DeadLetter, ParkedFilter } from '../durable/dead-letters.ts';
import type { QueueLimits } from '../durable/limits.ts';
import type { Problem } from '../kernel/errors.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { JobOptions } from './job.ts';
import type { JobStatus } from './receipt.ts';
import type { JobFunction } from './running-job.ts';

/**
 * Jobs from outside of transactions: enqueued, run, looked at and dealt with by who operates them. The port of every
 * driver: what `jobDriverCases` of `plimsoll/testing` asks holds for each. A driver that cannot do what an option
 * says refuses it with PL_CONFIG.
 */
export interface Jobs {
  /**
   * Enqueues one; resolves with its id when it is there to stay. With `unique`, the id is that of the job that is
   * there. PL_CONFIG for options that are not valid.
   */
  add(name: string, input: unknown, options?: JobOptions): Promise<string>;
  /** Enqueues all of them; resolves with their ids. PL_CONFIG for one with `unique`: add those one by one. */
  addAll(jobs: readonly NewJob[]): Promise<readonly string[]>;
  /** Undefined when there is none of that id that has not ended. */
  cancel(id: string, reason: string): Promise<CancelAnswer | undefined>;
  status(id: string): Promise<JobStatus | undefined>;
  /** The newest first; at most `limit`, by default 100. */
  deadLetters(filter?: ParkedFilter, limit?: number): Promise<readonly DeadLetter[]>;
  /** Dead letters back to work, with all their tries; returns how many. */
  replay(filter: ParkedFilter): Promise<number>;
  /** Deletes dead letters; returns how many. PL_CONFIG for an empty filter. */
  discard(filter: ParkedFilter): Promise<number>;
  /** Sets what holds for all jobs of a name, instead of what held before; `undefined` lifts it. Within a second. */
  limit(name: string, limits: QueueLimits | undefined): Promise<void>;
  /** From then on no job of the name begins, within a second; what is under way ends. */
  pause(name: string): Promise<void>;
  resume(name: string): Promise<void>;
  /** A worker, not started, that runs jobs of these names with these functions. */
  work(handlers: ReadonlyMap<string, JobFunction>, options?: JobWorkerOptions): JobWorker;
}

export interface NewJob extends JobOptions {
  /** The command's id, or the name of a handler. */
  readonly name: string;
  readonly input: unknown;
}

export interface JobWorkerOptions {
  /** Jobs under way at once. Default 8. */
  readonly concurrency?: number;
  /** How long a stopping worker waits for jobs under way before it gives them back. Default 10_000. */
  readonly drainMs?: number;
  readonly backoff?: BackoffOptions;
}

export interface JobWorker extends Lifecycle {
  status(): { readonly running: number };
}

/** What is wrong with the jobs of {@link Jobs.addAll}, besides the options of each. */
export function uniqueProblems(jobs: readonly NewJob[]): Problem[] {
  return jobs.flatMap(({ unique }, index) =>
    unique === undefined ? [] : [{ path: `${index}.unique`, message: 'is for add(), one by one' }],
  );
}
