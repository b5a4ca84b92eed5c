import { errorTable, isPlimsollError, PlimsollError, type ErrorCode } from '../kernel/errors.ts';

/** RFC 9457 problem details. */
export interface ProblemDetails {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
  readonly code: string;
  readonly correlationId: string;
  readonly data?: unknown;
}

/**
 * The answer for a thrown error. A client error is explained with its facts; a server error names only its
 * code, because its message may speak of tables and hosts. The log has the whole of it.
 */
export function problemOf(error: unknown, correlationId: string): ProblemDetails {
  const known = isPlimsollError(error) ? error : fromHttp(error);
  if (known === undefined) {
    return {
      type: 'about:blank',
      title: 'Internal Server Error',
      status: 500,
      code: 'INTERNAL',
      correlationId,
    };
  }
  const { status, summary } = errorTable[known.code];
  const explained =
    status < 500
      ? { detail: known.message, ...(Object.keys(known.data).length === 0 ? {} : { data: known.data }) }
      : {};
  return {
    type: `urn:plimsoll:error:${known.code}`,
    title: summary,
    status,
    code: known.code,
    correlationId,
    ...explained,
  };
}

/** The answer for a declared error of a command. */
export function declaredProblem(
  operation: string,
  failure: { readonly error: string; readonly data: unknown },
  status: number,
  correlationId: string,
): ProblemDetails {
  return {
    type: `urn:plimsoll:operation:${operation}:${failure.error}`,
    title: failure.error,
    status,
    code: failure.error,
    correlationId,
    data: failure.data,
  };
}

/**
 * Seconds for `Retry-After`: what the refusal says, else one to three at random, so that those who were refused
 * together do not come back together. Undefined where the same request might do its work twice.
 */
export function retryAfterSeconds(
  { status, code }: ProblemDetails,
  error: unknown,
  random: () => number = Math.random,
): number | undefined {
  if (status !== 503 && status !== 429 && code !== 'PL_IDEMPOTENCY_BUSY') return undefined;
  if (Object.hasOwn(errorTable, code) && !errorTable[code as ErrorCode].retryable) return undefined;
  const saidMs = isPlimsollError(error) ? error.data['retryAfterMs'] : undefined;
  if (typeof saidMs === 'number' && Number.isFinite(saidMs)) return Math.max(1, Math.ceil(saidMs / 1_000));
  return 1 + Math.floor(random() * 3);
}

const byStatus: Readonly<Record<number, ErrorCode>> = {
  413: 'PL_BODY_TOO_LARGE',
  415: 'PL_UNSUPPORTED_MEDIA',
};

/**
 * Fastify's own refusals: a body that is too large, not JSON, or not readable. Known by their code, because
 * an error that a handler got from an HTTP client may carry a `statusCode` too.
 */
function fromHttp(error: unknown): PlimsollError | undefined {
  if (!(error instanceof Error) || !('statusCode' in error) || typeof error.statusCode !== 'number')
    return undefined;
  if (!('code' in error) || !String(error.code).startsWith('FST_') || error.statusCode >= 500)
    return undefined;
  return new PlimsollError(byStatus[error.statusCode] ?? 'PL_BAD_REQUEST', error.message, { cause: error });
}
