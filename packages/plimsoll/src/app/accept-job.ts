import type { Database } from '../database/database.ts';
import { fingerprintOf } from '../idempotency/fingerprint.ts';
import { AlreadyDone, busy, clientOf } from '../idempotency/keyed-work.ts';
import { Records, type RecordOptions } from '../idempotency/records.ts';
import { newTaskId } from '../durable/task-id.ts';
import { newJob } from '../jobs/job.ts';
import { acceptJob } from '../jobs/receipt.ts';
import { createContext, currentContext } from '../kernel/context.ts';
import type { AnyCommand } from '../modules/contract.ts';

/**
 * Accepts a command as a job, and answers its id. Under a key that a client sent there is one job, whoever sends it
 * and how often; all are answered its id.
 */
export function createAcceptance(
  database: Database,
  onAccepted: () => void,
  options: RecordOptions = {},
): (operation: AnyCommand, input: unknown) => Promise<string> {
  const records = new Records(database, options);
  return async (operation, input) => {
    const context = currentContext() ?? createContext();
    const job = newJob(context, { ...operation.job, id: newTaskId(), name: operation.id, input });
    const { caller, key } = context;
    const work = {
      scope: `job ${operation.id}`,
      client: clientOf(caller),
      key,
      fingerprint: fingerprintOf(input),
    };
    const recording = context.keyIsStable ? records.recording(work, job.id) : undefined;
    if ((await database.execute(acceptJob(job, recording))) === 1) {
      onAccepted();
      return job.id;
    }
    const refusal = await records.refusalOf(work);
    if (!(refusal instanceof AlreadyDone)) throw refusal ?? busy(work);
    context.replayed = true;
    return refusal.answer as string;
  };
}
