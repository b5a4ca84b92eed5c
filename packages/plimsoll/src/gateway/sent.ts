import type { IncomingHttpHeaders } from 'node:http';
import { maxKeyLength, readKey, type SentKey } from '../idempotency/key.ts';
import { PlimsollError } from '../kernel/errors.ts';
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
  readonly key: SentKey;
  /** How long the caller still waits, from the arrival on. */
  readonly remainingMs: number | undefined;
  /** Set where the caller makes this call again by itself; see `runAsAttempt`. */
  readonly attempt: string | readonly string[] | undefined;
}

const safeId = /^[\w.:-]{1,128}$/;

export function sentBy(headers: IncomingHttpHeaders): Sent {
  const { 'x-correlation-id': id, 'idempotency-key': key, traceparent } = headers;
  const traced = typeof traceparent === 'string' ? parseTraceparent(traceparent) : undefined;
  const own = typeof id === 'string' && safeId.test(id) ? id : undefined;
  return {
    correlationId: own ?? (traced === undefined ? undefined : correlationIdOf(traced)),
    traceparent: traced === undefined ? undefined : (traceparent as string),
    key: readKey(key),
    remainingMs: parseRemaining(headers[timeoutHeader]),
    attempt: headers[attemptHeader],
  };
}

/**
 * For a command: a key that is missing where it is required, or that cannot be read, is PL_IDEMPOTENCY_KEY. Whoever
 * sends one counts on it.
 */
export function assertKey(key: SentKey, operation: string, isRequired: boolean): void {
  if (key.is === 'unreadable')
    throw new PlimsollError(
      'PL_IDEMPOTENCY_KEY',
      `the Idempotency-Key of ${operation} cannot be read: ${key.why}; send 1 to ${maxKeyLength} printed ASCII characters, such as a UUID`,
    );
  if (key.is === 'none' && isRequired)
    throw new PlimsollError(
      'PL_IDEMPOTENCY_KEY',
      `${operation} wants an Idempotency-Key; send one that names this piece of work, and the same one when you send it again`,
    );
}

/** Undefined when there is none that can be used. */
export function keyOf(key: SentKey): string | undefined {
  return key.is === 'key' ? key.key : undefined;
}
