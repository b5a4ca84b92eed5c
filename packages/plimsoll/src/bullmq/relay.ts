import type { Database } from '../database/database.ts';
import { completeWith } from '../durable/complete-with.ts';
import { snooze } from '../durable/outcome.ts';
import type { ClaimedTask, NewTask } from '../durable/task.ts';
import type { TaskHandler } from '../durable/worker.ts';
import { background } from '../kernel/channels.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import { enqueue } from './enqueue.ts';
import type { Queues } from './queues.ts';
import { refusedOptions, unknownName } from './refused.ts';

/** How long BullMQ knows a relayed job that has ended well: until then a repetition adds nothing. */
export const relayedMs = 3_600_000;
/** How long to leave a Redis alone that cannot take a job. */
const againMs = 1_000;

/**
 * A handler for a worker of the database that hands its job over to BullMQ under the same id, and then ends it here. A
 * process that dies in between hands it over again, which adds nothing.
 */
export function relayHandler(queues: Queues, database: Database, keptMs: number): TaskHandler {
  return async (task, control) => {
    throwIfProblems(`the job ${task.name}`, [
      ...unknownName(task.name, queues.names),
      ...refusedOptions(task.orderKey === null ? {} : { orderKey: task.orderKey }),
    ]);
    try {
      await enqueue(queues, dueNow(task), Math.max(relayedMs, task.keepResult ? keptMs : 0));
    } catch (error) {
      // Whatever it is, it is Redis that cannot take it now, and no fault of the job.
      background.publish({
        scope: database.scope,
        what: `relaying job ${task.name} ${task.id} to BullMQ`,
        error,
      });
      return snooze(againMs);
    }
    // Its result is that of the job in BullMQ.
    return completeWith(
      database,
      { ...task, keepResult: false },
      control,
      `job:${task.id}`,
      async () => undefined,
    );
  };
}

/** It was claimed, so it is due; who was to be unique was so until then. */
function dueNow(task: ClaimedTask): NewTask {
  const { id, kind, name, priority, payload, maxAttempts, keepResult, correlationId, causationId, caller } =
    task;
  return {
    id,
    kind,
    name,
    priority,
    payload,
    maxAttempts,
    keepResult,
    correlationId,
    caller,
    delayMs: 0,
    causationId: causationId ?? undefined,
    timeoutMs: task.timeoutMs ?? undefined,
  };
}
