import type { Clock } from '../kernel/clock.ts';
import { isPlimsollError, PlimsollError } from '../kernel/errors.ts';
import { retryAfterOf } from '../retry/retryable.ts';
import { AttemptFailure, codeOf, previewOf, type ReceivedAnswer, type ReceivedHeaders } from './exchange.ts';

/** What is known of a request that failed. */
export interface RequestFacts {
  readonly name: string;
  readonly method: string;
  /** Without values. */
  readonly path: string;
  readonly attempts: number;
  readonly sent: string;
}

/** What the caller sees in the end. Errors that are neither ours nor the network's stay as they are. */
export function failureOf(error: unknown, facts: RequestFacts, clock: Clock): unknown {
  const what = `${facts.name}: ${facts.method} ${facts.path}`;
  const data = { ...facts };
  if (error instanceof AttemptFailure)
    return error.status === undefined
      ? unreached(error, what, data)
      : answeredBadly(error, error.status, what, data, clock);
  if (isPlimsollError(error))
    return new PlimsollError(
      error.code,
      `${facts.method} ${facts.path}: ${error.message} (sent: ${facts.sent})`,
      { cause: error, data: { ...error.data, ...data } },
    );
  return error;
}

/**
 * Never PL_RATE_LIMITED, for a 429 too: that says that *we* refuse *our* caller. The gateway would answer our client
 * 429 and show it this data; and guards outside would take it that nothing was called.
 */
function answeredBadly(
  error: AttemptFailure,
  status: number,
  what: string,
  facts: RequestFacts,
  clock: Clock,
): PlimsollError {
  const retryAfterMs = retryAfterOf(error, () => clock.now());
  const times = facts.attempts === 1 ? 'once' : `${facts.attempts} times`;
  const later = retryAfterMs === undefined ? '' : `; it asks to be left alone for ${retryAfterMs} ms`;
  return new PlimsollError('PL_REMOTE_FAILED', `${what}: asked ${times}, answered ${status}${later}`, {
    data: {
      ...facts,
      status,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      headers: shown(error.headers ?? {}),
      body: error.preview,
    },
  });
}

const advice: Readonly<Record<string, string>> = {
  no: 'could not be reached, and nothing was sent',
  maybe:
    'gave no answer; whether it was done is unknown: ask, or send it again with the same idempotency key',
  yes: 'answered, and then the connection broke; whether it was done is unknown: ask, or send it again with the same idempotency key',
};

/** The cause has the code of undici or of the system. */
function unreached(error: AttemptFailure, what: string, facts: RequestFacts): PlimsollError {
  const code = codeOf(error.cause);
  return new PlimsollError('PL_NETWORK', `${what}: ${facts.name} ${advice[facts.sent] ?? ''} (${code})`, {
    cause: error.cause,
    data: { ...facts, networkCode: code },
  });
}

/** Not a failure of the server's, so it is thrown outside of the policy. */
export function tooLarge(answer: ReceivedAnswer, facts: RequestFacts, maxBodyBytes: number): PlimsollError {
  return new PlimsollError(
    'PL_REMOTE_FAILED',
    `${facts.name}: ${facts.method} ${facts.path}: the answer with ${answer.status} is larger than ${maxBodyBytes} bytes; ask for less, or raise maxBodyBytes`,
    { data: { ...facts, status: answer.status, maxBodyBytes, body: previewOf(answer.body) } },
  );
}

/** Cookies are credentials. */
function shown(headers: ReceivedHeaders): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'set-cookie'));
}
