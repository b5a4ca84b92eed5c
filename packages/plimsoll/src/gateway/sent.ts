import type { IncomingHttpHeaders } from 'node:http';
import { correlationIdOf, parseTraceparent } from '../kernel/trace.ts';
import { attemptHeader } from '../retry/header.ts';
import { parseRemaining, timeoutHeader } from '../timeout/remaining.ts';

/** What a request says of itself, as far as it can be believed. */
export interface Sent {
  /** The one that was sent, else that of the trace; undefined when it says neither. */
  readonly correlationId: string | undefined;
  /** W3C Trace Context. */
  readonly traceparent: string | undefined;
  /** The `Idempotency-Key`. Never the correlation id: one of those may span several requests. */
  readonly key: string | undefined;
  /** How long the caller still waits, from the arrival on. */
  readonly remainingMs: number | undefined;
  /** Set where the caller makes this call again by itself; see `runAsAttempt`. */
  readonly attempt: string | readonly string[] | undefined;
}

const safeId = /^[\w.:-]{1,128}$/;
const maxKeyLength = 255;

export function sentBy(headers: IncomingHttpHeaders): Sent {
  const { 'x-correlation-id': id, 'idempotency-key': key, traceparent } = headers;
  const traced = typeof traceparent === 'string' ? parseTraceparent(traceparent) : undefined;
  const own = typeof id === 'string' && safeId.test(id) ? id : undefined;
  return {
    correlationId: own ?? (traced === undefined ? undefined : correlationIdOf(traced)),
    traceparent: traced === undefined ? undefined : (traceparent as string),
    key: typeof key === 'string' && key !== '' && key.length <= maxKeyLength ? key : undefined,
    remainingMs: parseRemaining(headers[timeoutHeader]),
    attempt: headers[attemptHeader],
  };
}
