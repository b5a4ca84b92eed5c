import { describeError } from '../durable/settle.ts';

/** What a try ends with in BullMQ that has failed: what is kept of the error, and how it goes on. */
export class JobFailure extends Error {
  /** By this name BullMQ knows that it is a dead letter. */
  override readonly name: 'JobFailure' | 'UnrecoverableError';
  readonly delayMs: number;

  constructor(error: unknown, delayMs: number, isLast: boolean) {
    const { message, code, stack } = describeError(error);
    super(message, { cause: error });
    this.name = isLast ? 'UnrecoverableError' : 'JobFailure';
    this.delayMs = Math.ceil(delayMs);
    // BullMQ keeps a message and stacks, no code: it goes before the stack.
    this.stack = `${code === undefined ? '' : `[${code}] `}${stack ?? message}`;
  }
}

export interface KeptError {
  readonly message: string;
  readonly code?: string;
  readonly stack?: string;
}

/** The error that was kept of a failed try; undefined where none has failed. */
export function keptError(job: {
  readonly failedReason?: string;
  readonly stacktrace: readonly string[] | null;
}): KeptError | undefined {
  if (job.failedReason === undefined) return undefined;
  const last = job.stacktrace?.at(-1);
  const [, code, stack] = /^(?:\[([^\]\s]+)\] )?([^]*)$/.exec(last ?? '') ?? [];
  return {
    message: job.failedReason,
    ...(code === undefined ? {} : { code }),
    ...(stack === undefined || stack === '' ? {} : { stack }),
  };
}
