import type { Database } from '../database/database.ts';
import type { Transaction } from '../database/transaction.ts';
import { completeWith } from '../durable/complete-with.ts';
import type { ClaimedTask } from '../durable/task.ts';
import type { TaskHandler } from '../durable/worker.ts';
import { causeOf, insertInbox, type RecordedEvent } from './events.ts';

/** What the function of a {@link deliveryHandler} gets besides the payload. */
export interface RunningDelivery {
  /** Of the effect, the inbox row and the end of the delivery. */
  readonly tx: Transaction;
  readonly event: RecordedEvent;
  readonly task: ClaimedTask;
}

/**
 * A handler for a worker without an app: the effect, the inbox row and the end of the delivery commit together,
 * and an event that has had its effect is not run again. Runs in the context of the request that wrote the event.
 * A throw rolls back and has it tried again; PL_TASK_LOST when another worker has it by then. The type of the
 * payload is the caller's claim, nothing checks it.
 */
export function deliveryHandler<Payload>(
  database: Database,
  run: (payload: Payload, delivery: RunningDelivery) => Promise<void>,
): TaskHandler {
  return (task, control) => {
    const event = task.payload as RecordedEvent;
    return completeWith(database, task, control, causeOf(event, task.name), async (tx) => {
      // No row: the event has had its effect already, and only the task is left to end.
      if ((await tx.execute(insertInbox(task.name, event))) !== 1) return;
      await run(event.payload as Payload, { tx, event, task });
    });
  };
}
