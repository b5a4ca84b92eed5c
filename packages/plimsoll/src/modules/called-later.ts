import type { Database } from '../database/database.ts';
import { cancel, retry, snooze } from '../durable/outcome.ts';
import { noteProgress } from '../durable/settle.ts';
import type { ClaimedTask } from '../durable/task.ts';
import type { CalledLater } from './module.ts';

/** What the handler of a command learns of the job that it runs for. */
export function calledLater(database: Database, task: ClaimedTask): CalledLater {
  return {
    attempt: task.attempt,
    maxAttempts: task.maxAttempts,
    progress: async (progress) => void (await database.execute(noteProgress(task, progress))),
    retry,
    snooze,
    cancel,
  };
}
