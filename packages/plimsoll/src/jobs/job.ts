import type { NewTask } from '../durable/task.ts';
import type { RequestContext } from '../kernel/context.ts';

export interface JobRequest {
  readonly id: string;
  /** The command's id. */
  readonly name: string;
  readonly input: unknown;
  /** Run not before this many milliseconds from now. Default 0. */
  readonly delayMs?: number;
  /** Tries before the job is parked. Default 20. */
  readonly maxAttempts?: number;
}

export const jobDefaults = { delayMs: 0, maxAttempts: 20 } as const;

/** A job is a command called later: a task that carries its input and who asked. */
export function newJob(context: RequestContext, request: JobRequest): NewTask {
  const { correlationId, causationId, caller } = context;
  const { delayMs, maxAttempts } = { ...jobDefaults, ...request };
  return {
    id: request.id,
    kind: 'job',
    name: request.name,
    payload: request.input ?? null,
    delayMs,
    maxAttempts,
    correlationId,
    causationId,
    caller,
  };
}
