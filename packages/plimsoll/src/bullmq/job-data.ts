import type { Job, JobsOptions, Queue } from 'bullmq';
import type { NewTask } from '../durable/task.ts';
import type { Caller } from '../kernel/context.ts';

/** What BullMQ keeps of a job as its data. */
export interface JobData {
  readonly input: unknown;
  readonly correlationId: string;
  readonly causationId?: string;
  readonly caller: Caller;
  readonly timeoutMs?: number;
  readonly keepResult?: boolean;
  /** Set by whoever asks to end it while it runs. */
  readonly cancelReason?: string;
  /** Of a dead letter that was replayed: processes that had died of it before. */
  readonly diedBefore?: number;
}

/** What BullMQ keeps as the result of a job whose result is kept. */
export type Kept = { readonly result: unknown } | { readonly cancelled: string };

export type BullJob = Job<JobData, Kept | undefined>;
export type BullQueue = Queue<JobData, Kept | undefined>;

export function dataOf(task: NewTask): JobData {
  const { payload, correlationId, causationId, caller, timeoutMs, keepResult } = task;
  return {
    input: payload,
    correlationId,
    caller,
    ...(causationId === undefined ? {} : { causationId }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(keepResult === true ? { keepResult } : {}),
  };
}

/** Ours go from -32768, and 0 would be before all of BullMQ's. */
const priorityOf = (task: NewTask): number => (task.priority ?? 0) + 32_769;

export const delayOf = ({ runAt, delayMs }: NewTask): number =>
  Math.max(0, Math.ceil(runAt === undefined ? delayMs : runAt.getTime() - Date.now()));

/** `keptMs`: how long it is kept after it has ended well; 0 is not at all. Dead letters stay. */
export function optionsOf(task: NewTask, keptMs: number): JobsOptions {
  return {
    jobId: task.id,
    attempts: task.maxAttempts,
    // Named only to be found in the worker, which says how long.
    backoff: { type: 'plimsoll' },
    delay: delayOf(task),
    priority: priorityOf(task),
    removeOnComplete: keptMs === 0 ? true : { age: Math.ceil(keptMs / 1_000) },
    removeOnFail: false,
    stackTraceLimit: 1,
    ...(task.uniqueKey === undefined ? {} : { deduplication: { id: task.uniqueKey } }),
  };
}

/** False for what somebody else has put into the queue. */
export function isJobData(data: unknown): data is JobData {
  if (typeof data !== 'object' || data === null || !('input' in data)) return false;
  if (!('correlationId' in data) || typeof data.correlationId !== 'string') return false;
  return 'caller' in data && typeof data.caller === 'object' && data.caller !== null;
}

/** Tries begun so far, also those whose process died; one that was put off or given back does not count. */
export function triesOf(job: BullJob): number {
  return job.attemptsMade + job.stalledCounter - (job.data.diedBefore ?? 0);
}
