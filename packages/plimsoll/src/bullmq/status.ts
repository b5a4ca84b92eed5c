import type { IRedisClient } from 'bullmq';
import type { CancelAnswer } from '../durable/cancel.ts';
import { jobIdPattern, publicError, type JobStatus } from '../jobs/receipt.ts';
import { isGone } from './enqueue.ts';
import { isJobData, triesOf, type BullJob, type BullQueue } from './job-data.ts';
import { keptError } from './job-failure.ts';
import type { Queues } from './queues.ts';

/** Kept, where the result would have been, of a job that was cancelled before it began. */
interface Receipt {
  readonly reason: string;
  readonly acceptedAt: string;
}

const receiptKey = (queue: BullQueue, id: string): string => queue.toKey(`${id}:cancelled`);

async function readReceipt(queue: BullQueue, client: IRedisClient, id: string): Promise<Receipt | undefined> {
  const text = await client.get(receiptKey(queue, id));
  return text === null ? undefined : (JSON.parse(text) as Receipt);
}

export async function jobStatus(queues: Queues, jobId: string): Promise<JobStatus | undefined> {
  // Another text might be one of the keys that BullMQ has for the queue itself.
  if (!jobIdPattern.test(jobId)) return undefined;
  const known = await queues.search(async (queue, client) => {
    const job: BullJob | undefined = await queue.getJob(jobId);
    if (job !== undefined) return { job, state: await job.getState() };
    const receipt = await readReceipt(queue, client, jobId);
    return receipt === undefined ? undefined : { receipt };
  });
  if (known === undefined) return undefined;
  const { name, found } = known;
  if (!('job' in found)) return { jobId, name, state: 'cancelled', ...found.receipt };
  const { job, state } = found;
  const acceptedAt = new Date(job.timestamp).toISOString();
  if (state === 'completed') {
    // Null where nothing is kept of it but that it is done.
    const kept = job.returnvalue ?? undefined;
    if (kept !== undefined && 'cancelled' in kept)
      return { jobId, name, acceptedAt, state: 'cancelled', reason: kept.cancelled };
    return {
      jobId,
      name,
      acceptedAt,
      state: 'done',
      ...(kept === undefined ? {} : { result: kept.result ?? null }),
    };
  }
  if (state === 'unknown') return undefined;
  const error = keptError(job);
  return {
    jobId,
    name,
    acceptedAt,
    state: state === 'failed' ? 'failed' : state === 'active' ? 'running' : 'queued',
    attempts: attemptsOf(job) + (state === 'active' ? 1 : 0),
    maxAttempts: job.opts.attempts ?? 1,
    // 0 is what BullMQ has where nothing was told.
    ...(job.progress === 0 ? {} : { progress: job.progress }),
    ...(error === undefined ? {} : { lastError: publicError(error) }),
  };
}

/** Of a job that was parked instead of being tried, BullMQ counts that too. */
export function attemptsOf(job: BullJob): number {
  const tries = isJobData(job.data) ? triesOf(job) : job.attemptsMade;
  return Math.min(tries, job.opts.attempts ?? 1);
}

export async function cancelJob(
  queues: Queues,
  id: string,
  reason: string,
  keptMs: number,
): Promise<CancelAnswer | undefined> {
  if (!jobIdPattern.test(id)) return undefined;
  const known = await queues.search(async (queue) => (await queue.getJob(id)) as BullJob | undefined);
  if (known === undefined) return undefined;
  const { name, found: job } = known;
  return queues.ask(name, async (queue, client) => {
    const state = await job.getState();
    if (state === 'completed' || state === 'unknown') return undefined;
    // It is not removed while somebody has it.
    if (state !== 'active' && (await queue.remove(id)) === 1) {
      if (job.data.keepResult === true) {
        const receipt: Receipt = { reason, acceptedAt: new Date(job.timestamp).toISOString() };
        await client.set(receiptKey(queue, id), JSON.stringify(receipt), { PX: keptMs });
      }
      return { state: 'cancelled' };
    }
    try {
      await job.updateData({ ...job.data, cancelReason: reason });
      return { state: 'asked' };
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  });
}
