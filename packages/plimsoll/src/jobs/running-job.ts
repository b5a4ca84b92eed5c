import type { ClaimedTask } from '../durable/task.ts';

/** One try of a job. `id` is the same on every try: the idempotency key to pass to the outside. */
export type JobTry = Pick<
  ClaimedTask,
  'id' | 'name' | 'payload' | 'attempt' | 'maxAttempts' | 'correlationId' | 'causationId' | 'caller'
>;

/** What the function of a job gets besides its input. */
export interface RunningJob {
  readonly task: JobTry;
  /** Aborts when somebody cancels the job, its worker loses it, or its time limit is over. Made when first read. */
  readonly signal: AbortSignal;
  /** Tells how far it is, at once; `status` of its driver shows the last one. JSON. */
  readonly progress: (progress: unknown) => Promise<void>;
}

/**
 * Runs a job, in the context of the request that enqueued it. `return retry(…)`, `snooze(…)` or `cancel(…)` says how
 * it goes on; anything else is the result, kept where the job was enqueued with `keepResult`. A throw is a failed
 * try. The type of the input is the function's claim, nothing checks it.
 */
export type JobFunction = (input: never, job: RunningJob) => Promise<unknown>;
