import type { NewTask, OnDuplicate } from '../durable/task.ts';
import { dataOf, delayOf, optionsOf, type BullJob } from './job-data.ts';
import type { Queues } from './queues.ts';

/** Adds one; resolves with the id of the job that is there. An id that is there already adds nothing. */
export async function enqueue(
  queues: Queues,
  task: NewTask,
  keptMs: number,
  onDuplicate: OnDuplicate = 'keep',
): Promise<string> {
  for (;;) {
    const added = await queues.ask(task.name, (queue) =>
      queue.add(task.name, dataOf(task), optionsOf(task, keptMs)),
    );
    const id = added.id ?? task.id;
    if (id === task.id || onDuplicate === 'keep' || task.uniqueKey === undefined) return id;
    if (await change(queues, task, task.uniqueKey, id, onDuplicate)) return id;
    // A worker has taken it meanwhile, with the old input or the new one: this one is another job.
  }
}

/**
 * Gives the new input to the job that is there. A worker first takes the unique key from a job and then reads its
 * input again: whose key is still there after the change has not begun, and will begin with it.
 */
async function change(
  queues: Queues,
  task: NewTask,
  uniqueKey: string,
  id: string,
  onDuplicate: OnDuplicate,
): Promise<boolean> {
  return queues.ask(task.name, async (queue) => {
    const job: BullJob | undefined = await queue.getJob(id);
    if (job === undefined) return false;
    try {
      await job.updateData({ ...job.data, input: task.payload });
      // One that is due already stays due.
      if (onDuplicate === 'debounce') await job.changeDelay(delayOf(task));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
    return (await queue.getDeduplicationJobId(uniqueKey)) === id;
  });
}

/** Codes of BullMQ: there is no such job any more, or it is in another state. */
export const isGone = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === -1 || error.code === -3);
