import type { Database } from '../database/database.ts';
import { systemClock } from '../kernel/clock.ts';
import { createContext, type RequestContext } from '../kernel/context.ts';
import { taskSpan } from '../kernel/trace.ts';
import type { TaskControl } from './run-task.ts';
import type { ClaimedTask } from './task.ts';

/**
 * The context of background work: that of the request that set it off, with the task's id as stable key. The task was
 * claimed after the commit that wrote it, so a position from now on covers what its writer has seen.
 */
export function taskContext(
  database: Database,
  task: ClaimedTask,
  causationId: string,
  control: TaskControl | undefined,
): RequestContext {
  const { caller, id: key, timeoutMs } = task;
  return createContext({
    causationId,
    key,
    caller,
    span: taskSpan(task),
    seen: () => database.seenUntilNow(),
    cancellation: control?.cancellation,
    deadlineAtMs: timeoutMs === null ? undefined : systemClock.monotonicMs() + timeoutMs,
  });
}
