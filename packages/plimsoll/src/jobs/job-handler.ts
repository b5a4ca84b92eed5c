import type { Database } from '../database/database.ts';
import type { Transaction } from '../database/transaction.ts';
import { completeWith } from '../durable/complete-with.ts';
import { noteProgress } from '../durable/settle.ts';
import type { ClaimedTask } from '../durable/task.ts';
import type { TaskHandler } from '../durable/worker.ts';
import { createContext, currentContext } from '../kernel/context.ts';
import { signalOf } from '../kernel/deadline.ts';
import { groupHandler } from './group.ts';
import type { RunningJob } from './running-job.ts';

/** What the function of a {@link jobHandler} gets besides its input. What it tells of `progress` is outside of `tx`. */
export interface TransactionalJob extends RunningJob {
  /** Of the effect and the end of the job; begins with the first statement, so an outside call before holds no connection. */
  readonly tx: Transaction;
  readonly task: ClaimedTask;
}

export interface JobHandlerOptions {
  /**
   * Whether jobs share transactions, up to 50 or 200 ms of them in one: many times the rate for short jobs that write.
   * Where one fails, all of its group run once more, each behind a savepoint. Not for jobs that wait for something
   * outside, which would hold up the others and keep a transaction open. Give the worker a `concurrency` of 200 or more.
   * In a group nothing is told of `progress`. Default false.
   */
  readonly group?: boolean;
}

/**
 * A handler for a worker without an app: what `run` writes with `tx` and the end of the job commit together, so
 * the effect is there once, whoever dies. Runs in the context of the request that enqueued the job. `return retry(…)`,
 * `snooze(…)` or `cancel(…)` rolls back and says how it goes on; anything else is the result, kept where the job was
 * enqueued with `keepResult`. A throw rolls back and has it tried again; PL_TASK_LOST when another worker has it by
 * then. The type of the input is the caller's claim, nothing checks it.
 */
export function jobHandler<Input>(
  database: Database,
  run: (input: Input, job: TransactionalJob) => Promise<unknown>,
  options: JobHandlerOptions = {},
): TaskHandler {
  if (options.group === true) {
    // Whose row its own transaction has locked.
    const untold = async (): Promise<void> => undefined;
    return groupHandler(database, (task, tx) => run(task.payload as Input, runningJob(task, tx, untold)));
  }
  return (task, control) =>
    completeWith(database, task, control, `job:${task.id}`, (tx) =>
      run(
        task.payload as Input,
        runningJob(task, tx, async (progress) => void (await database.execute(noteProgress(task, progress)))),
      ),
    );
}

function runningJob(task: ClaimedTask, tx: Transaction, progress: RunningJob['progress']): TransactionalJob {
  const context = currentContext() ?? createContext();
  let signal: AbortSignal | undefined;
  return {
    tx,
    task,
    get signal() {
      return (signal ??= signalOf(context));
    },
    progress,
  };
}
