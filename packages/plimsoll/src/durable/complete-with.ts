import type { Database } from '../database/database.ts';
import type { Transaction } from '../database/transaction.ts';
import { assertAlive, runInContext } from '../kernel/context.ts';
import { beforeDeadline } from '../kernel/deadline.ts';
import { OutcomeReturned, TaskOutcome } from './outcome.ts';
import type { TaskControl } from './run-task.ts';
import { keepResult } from './settle.ts';
import { taskContext } from './task-context.ts';
import { completeTask, taskLost, type ClaimedTask } from './task.ts';

/**
 * Runs the effect of a task and ends the task in the same transaction, in the context of the request that set it
 * off, with the task's id as key. An outcome that `effect` returns rolls back and is what this resolves to; any other
 * value is its result, kept where somebody wants it. PL_TASK_LOST, and nothing committed, when another worker has the
 * task.
 */
export async function completeWith(
  database: Database,
  task: ClaimedTask,
  control: TaskControl | undefined,
  causationId: string,
  effect: (tx: Transaction) => Promise<unknown>,
): Promise<TaskOutcome | undefined> {
  const context = taskContext(database, task, causationId, control);
  let result: unknown;

  async function run(tx: Transaction): Promise<void> {
    result = await effect(tx);
    if (result instanceof TaskOutcome) throw new OutcomeReturned(result);
  }

  async function beforeCommit(tx: Transaction): Promise<void> {
    // What ends together with others runs in another context, which has no deadline.
    assertAlive(context, task.name);
    if (!tx.begun && !task.keepResult && control?.complete !== undefined) {
      // Nothing was written: no transaction is needed, and it ends with those of others.
      if (await control.complete()) return;
      throw taskLost(task);
    }
    if (task.keepResult) await tx.execute(keepResult(task, result));
    if ((await tx.execute(completeTask(task))) !== 1) throw taskLost(task);
  }

  try {
    const work = runInContext(context, () => database.transaction(run, { beforeCommit }));
    await beforeDeadline(context, work);
    return undefined;
  } catch (error) {
    if (error instanceof OutcomeReturned) return error.outcome;
    throw error;
  }
}
