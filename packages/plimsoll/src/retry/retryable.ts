import { isPlimsollError } from '../kernel/errors.ts';
import { failureKind } from '../kernel/failure-kind.ts';

/** Answers that say: the same request may succeed later. */
const retryableStatuses: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);

/** No connection came about, it broke, or nothing came through it. For work that is safe to repeat it is all one. */
const connectionCodes: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_SOCKET',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
]);

/**
 * Whether safe work that failed like this may be made again: errors of ours that the table calls retryable; refusals
 * of a guard only where they say when to come again; HTTP 408, 429, 502, 503 and 504; a connection that was refused or
 * broke, and what timed out. Everything else is no, an error that nobody knows too: repeating a bug does not mend it.
 */
export function isRetryable(error: unknown): boolean {
  if (isEnd(error)) return false;
  if (isPlimsollError(error)) {
    if (failureKind(error) === 'refused') return retryAfterOf(error) !== undefined;
    return error.retryable || hasConnectionCode(error);
  }
  const status = statusOf(error);
  return status === undefined
    ? isTimeoutOf(error) || hasConnectionCode(error)
    : retryableStatuses.has(status);
}

/** Cancelled, or not known to be undone: never made again, whoever calls it retryable. */
export function isEnd(error: unknown): boolean {
  return failureKind(error) === 'cancelled' || isPlimsollError(error, 'PL_COMMIT_UNKNOWN');
}

/** How long whoever failed asks to be left alone: `data.retryAfterMs`, or the `Retry-After` of an HTTP answer. */
export function retryAfterOf(error: unknown, nowMs: () => number = Date.now): number | undefined {
  if (isPlimsollError(error)) {
    const { retryAfterMs } = error.data;
    return typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? retryAfterMs : undefined;
  }
  const field =
    header(property(error, 'headers')) ?? header(property(property(error, 'response'), 'headers'));
  return field === undefined ? undefined : parseRetryAfter(field, nowMs());
}

/** Milliseconds of an HTTP `Retry-After`: seconds, or a date (RFC 9110, 10.2.3). Undefined when it is neither. */
export function parseRetryAfter(value: string, nowMs: number): number | undefined {
  if (/^\d+$/.test(value)) return Number(value) * 1_000;
  const atMs = /[a-z]/i.test(value) ? Date.parse(value) : NaN;
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs);
}

/** Of `Headers`, or of a record with lower-case names as Node's and undici's. */
function header(headers: unknown): string | undefined {
  const value = headers instanceof Headers ? headers.get('retry-after') : property(headers, 'retry-after');
  return typeof value === 'string' ? value.trim() : undefined;
}

/** As HTTP clients put it on their errors. */
function statusOf(error: unknown): number | undefined {
  for (const holder of [error, property(error, 'response')])
    for (const name of ['statusCode', 'status']) {
      const status = property(holder, name);
      if (typeof status === 'number') return status;
    }
  return undefined;
}

/** As `AbortSignal.timeout` gives. */
const isTimeoutOf = (error: unknown): boolean => property(error, 'name') === 'TimeoutError';

/** `fetch` says why in the cause; our client does too. */
function hasConnectionCode(error: unknown): boolean {
  for (const holder of [error, property(error, 'cause')]) {
    const code = property(holder, 'code');
    if (typeof code === 'string' && connectionCodes.has(code)) return true;
  }
  return false;
}

function property(holder: unknown, name: string): unknown {
  return typeof holder === 'object' && holder !== null
    ? (holder as Record<string, unknown>)[name]
    : undefined;
}
