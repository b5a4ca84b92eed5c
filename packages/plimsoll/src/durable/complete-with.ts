import type { Database } from '../database/database.ts';
import type { Transaction } from '../database/transaction.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { taskSpan } from '../kernel/trace.ts';
import { completeTask, type ClaimedTask } from './task.ts';

/**
 * Runs the effect of a task and ends the task in the same transaction, in the context of the request that set it
 * off, with the task's id as key. PL_TASK_LOST, and nothing committed, when another worker has the task.
 */
export function completeWith(
  database: Database,
  task: ClaimedTask,
  causationId: string,
  effect: (tx: Transaction) => Promise<void>,
): Promise<void> {
  const { id: key, correlationId, caller } = task;
  // It was claimed after the commit that wrote it: a position from now on covers what its writer has seen.
  const seen = database.seenUntilNow();
  const context = createContext({ correlationId, causationId, key, caller, span: taskSpan(task), seen });
  return runInContext(context, () =>
    database.transaction(effect, {
      async beforeCommit(tx) {
        if ((await tx.execute(completeTask(task))) === 1) return;
        throw new PlimsollError(
          'PL_TASK_LOST',
          `task ${task.name} ${task.id}, attempt ${task.attempt}: another worker has taken it over`,
        );
      },
    }),
  );
}
