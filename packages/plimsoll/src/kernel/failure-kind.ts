import { errorTable, isPlimsollError, type ErrorCode } from './errors.ts';

/**
 * What a failed call says of what was called. `failure`: it is not well. `refused`: a guard of ours, nothing was
 * called. `cancelled`: nobody waited any more. `caller`: the caller's own mistake, a 4xx.
 */
export type FailureKind = 'failure' | 'refused' | 'cancelled' | 'caller';

const refusing: ReadonlySet<ErrorCode> = new Set([
  'PL_BREAKER_OPEN',
  'PL_BULKHEAD_FULL',
  'PL_QUEUE_FULL',
  'PL_OVERLOADED',
  'PL_RATE_LIMITED',
  'PL_DRAINING',
]);

/** By the code of an error of ours, else by the HTTP status that it carries, else a failure. */
export function failureKind(error: unknown): FailureKind {
  if (isPlimsollError(error)) {
    if (refusing.has(error.code)) return 'refused';
    if (error.code === 'PL_ABORTED') return 'cancelled';
    return errorTable[error.code].status < 500 ? 'caller' : 'failure';
  }
  if (error instanceof Error && error.name === 'AbortError') return 'cancelled';
  const status = statusOf(error);
  return status !== undefined && status >= 400 && status < 500 ? 'caller' : 'failure';
}

/** As HTTP clients put it on their errors. */
function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const { statusCode, status } = error as { readonly statusCode?: unknown; readonly status?: unknown };
  if (typeof statusCode === 'number') return statusCode;
  return typeof status === 'number' ? status : undefined;
}
