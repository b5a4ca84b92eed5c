import { DelayedError, WaitingError } from 'bullmq';
import type { Database } from '../database/database.ts';
import { askedMs, backoffMs, type BackoffOptions } from '../durable/backoff.ts';
import { OutcomeReturned, TaskOutcome } from '../durable/outcome.ts';
import type { JobFunction, JobTry, RunningJob } from '../jobs/running-job.ts';
import { Cancellation } from '../kernel/cancellation.ts';
import { tasks as taskChannel, type TaskMessage } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import { assertAlive, createContext, runInContext, type RequestContext } from '../kernel/context.ts';
import { beforeDeadline, signalOf } from '../kernel/deadline.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { taskSpan } from '../kernel/trace.ts';
import { isJobData, triesOf, type BullJob, type Kept } from './job-data.ts';
import { JobFailure } from './job-failure.ts';
import type { Queues } from './queues.ts';

/** A job that this worker has, from its being taken to its end. */
export interface Held {
  readonly job: BullJob;
  readonly token: string;
  readonly cancellation: Cancellation;
  /** Set when somebody asked to end it. */
  cancelReason: string | undefined;
  /** Set when its lock is gone: BullMQ refuses whatever we say of it. */
  lost: boolean;
  /** Ends our part in it, whatever its function is at. */
  readonly leave: (error: Error) => void;
  /** Resolves when our part in it has ended. */
  readonly ended: Promise<void>;
}

export interface JobRunnerOptions {
  readonly queues: Queues;
  readonly scope: object;
  readonly database: Pick<Database, 'seenUntilNow'> | undefined;
  readonly backoff: BackoffOptions;
  readonly held: Set<Held>;
  /** Whether nothing is to begin any more. */
  readonly stopping: () => boolean;
}

/** How a try ended, to be told when BullMQ has taken it. */
type Ending = Omit<TaskMessage, 'scope'>;
type End = (outcome: Ending['outcome'], error?: unknown) => void;

export interface JobRunner {
  /** What BullMQ calls for a job of a name: resolves with what is kept of it, or rejects as BullMQ wants it. */
  run(work: JobFunction, job: BullJob, token: string): Promise<Kept | undefined>;
  /** BullMQ has recorded how the job ended. */
  recorded(job: BullJob): void;
}

export function createJobRunner(options: JobRunnerOptions): JobRunner {
  const { queues, held, database } = options;
  const endings = new WeakMap<BullJob, Ending>();

  async function run(work: JobFunction, job: BullJob, token: string): Promise<Kept | undefined> {
    const startedMs = systemClock.monotonicMs();
    if (options.stopping()) {
      await job.moveToWait(token);
      throw new WaitingError();
    }
    const task = tryOf(job);
    const left = Promise.withResolvers<never>();
    left.promise.catch(() => undefined);
    const ended = Promise.withResolvers<void>();
    const one: Held = {
      job,
      token,
      cancellation: new Cancellation(),
      cancelReason: job.data.cancelReason,
      lost: false,
      leave: left.reject,
      ended: ended.promise,
    };
    const end: End = (outcome, error) => {
      endings.set(job, ending(job, task, outcome, startedMs, error));
    };
    held.add(one);
    try {
      const result =
        one.cancelReason === undefined
          ? await Promise.race([handle(one, task, work), left.promise])
          : undefined;
      if (one.cancelReason !== undefined)
        throw new OutcomeReturned(new TaskOutcome('cancel', undefined, one.cancelReason));
      if (result instanceof TaskOutcome) throw new OutcomeReturned(result);
      const kept = job.data.keepResult === true ? { result: result ?? null } : undefined;
      // Here, where it is a failure of the job, and not in BullMQ.
      JSON.stringify(kept);
      end('done');
      return kept;
    } catch (error) {
      if (error instanceof WaitingError) throw error;
      return await goOn(one, task, error, end);
    } finally {
      held.delete(one);
      ended.resolve();
    }
  }

  /** What was returned or thrown instead of a result: returns what is kept of it, or throws how it goes on. */
  async function goOn(one: Held, task: JobTry, error: unknown, end: End): Promise<Kept | undefined> {
    const { job, token, cancelReason } = one;
    if (one.lost) {
      end('lost', error);
      recorded(job);
      throw error;
    }
    const outcome = error instanceof OutcomeReturned ? error.outcome : undefined;
    if (cancelReason !== undefined || outcome?.kind === 'cancel') {
      end('cancelled');
      return job.data.keepResult === true ? { cancelled: cancelReason ?? outcome?.reason ?? '' } : undefined;
    }
    if (outcome?.kind === 'snooze') {
      await job.moveToDelayed(Date.now() + Math.ceil(outcome.delayMs ?? 0), token);
      end('snoozed');
      recorded(job);
      throw new DelayedError();
    }
    const isLast = task.attempt >= task.maxAttempts;
    end(isLast ? 'parked' : 'retry', error);
    const delayMs =
      outcome?.delayMs ?? Math.max(backoffMs(task.attempt, options.backoff, Math.random), askedMs(error));
    throw new JobFailure(error, delayMs, isLast);
  }

  /** The function, in the context of whoever enqueued the job. */
  async function handle(one: Held, task: JobTry, work: JobFunction): Promise<unknown> {
    const { job, cancellation } = one;
    const input = job.deduplicationId === undefined ? job.data.input : await begin(job);
    const { timeoutMs } = job.data;
    const context = createContext({
      causationId: `job:${task.id}`,
      key: task.id,
      caller: task.caller,
      span: taskSpan(task),
      seen: database === undefined ? undefined : () => database.seenUntilNow(),
      cancellation,
      deadlineAtMs: timeoutMs === undefined ? undefined : systemClock.monotonicMs() + timeoutMs,
    });
    const running = runInContext(context, async () => work(input as never, runningJob(job, task, context)));
    const result = await beforeDeadline(context, running);
    // Its signal may have ended it a moment before the deadline was noticed.
    if (!(result instanceof TaskOutcome)) assertAlive(context, task.name);
    return result;
  }

  /** From here on another one of its unique key is another job; what this one was given before is its input. */
  function begin(job: BullJob): Promise<unknown> {
    return queues.ask(job.queueName, async (queue) => {
      await job.removeDeduplicationKey();
      const now: BullJob | undefined = await queue.getJob(job.id ?? '');
      return (now ?? job).data.input;
    });
  }

  function runningJob(job: BullJob, task: JobTry, context: RequestContext): RunningJob {
    let signal: AbortSignal | undefined;
    return {
      task,
      get signal() {
        return (signal ??= signalOf(context));
      },
      progress: (progress) =>
        queues.ask(job.queueName, () => job.updateProgress((progress ?? null) as object)),
    };
  }

  function recorded(job: BullJob): void {
    const told = endings.get(job);
    endings.delete(job);
    if (told !== undefined && taskChannel.hasSubscribers)
      taskChannel.publish({ scope: options.scope, ...told });
  }

  return { run, recorded };
}

/** Throws what parks the job, where it cannot be tried. */
function tryOf(job: BullJob): JobTry {
  const { id = '', queueName: name, data } = job;
  const maxAttempts = job.opts.attempts ?? 1;
  if (!isJobData(data)) {
    const foreign = new PlimsollError(
      'PL_PAYLOAD_INVALID',
      `job ${name} ${id}: its data is not that of a job added by createBullmqJobs; add it with that, or discard it`,
    );
    throw new JobFailure(foreign, 0, true);
  }
  const attempt = triesOf(job) + 1;
  if (attempt > maxAttempts) throw new JobFailure(new Error('the worker process died'), 0, true);
  const { input, correlationId, causationId = null, caller } = data;
  return { id, name, payload: input, attempt, maxAttempts, correlationId, causationId, caller };
}

function ending(
  job: BullJob,
  task: JobTry,
  outcome: Ending['outcome'],
  startedMs: number,
  error: unknown,
): Ending {
  // When a later try was due is not kept.
  const dueAt = task.attempt === 1 ? job.timestamp + (job.opts.delay ?? 0) : Infinity;
  return {
    name: task.name,
    kind: 'job',
    outcome,
    attempt: task.attempt,
    lagMs: Math.max(0, (job.processedOn ?? 0) - dueAt),
    correlationId: task.correlationId,
    span: taskSpan(task),
    durationMs: systemClock.monotonicMs() - startedMs,
    ...(error === undefined ? {} : { error }),
  };
}
