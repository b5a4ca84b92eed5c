import type { Database } from '../database/database.ts';
import type { Transaction } from '../database/transaction.ts';
import { completeWith } from '../durable/complete-with.ts';
import type { ClaimedTask } from '../durable/task.ts';
import type { TaskHandler } from '../durable/worker.ts';

/** What the function of a {@link jobHandler} gets besides its input. */
export interface RunningJob {
  /** Of the effect and the end of the job; begins with the first statement, so an outside call before holds no connection. */
  readonly tx: Transaction;
  /** Its `id` is the same on every try: the idempotency key to pass to the outside. */
  readonly task: ClaimedTask;
}

/**
 * A handler for a worker without an app: what `run` writes with `tx` and the end of the job commit together, so
 * the effect is there once, whoever dies. Runs in the context of the request that enqueued the job. A throw rolls
 * back and has it tried again; PL_TASK_LOST when another worker has it by then. The type of the input is the
 * caller's claim, nothing checks it.
 */
export function jobHandler<Input>(
  database: Database,
  run: (input: Input, job: RunningJob) => Promise<void>,
): TaskHandler {
  return (task) =>
    completeWith(database, task, `job:${task.id}`, (tx) => run(task.payload as Input, { tx, task }));
}
