import { plainAttempt, repeatedAttempt, runInAttempt, type Attempt } from '../kernel/attempt.ts';

/**
 * The request header that says: I make this call again myself, you need not. Its value is the number of the attempt.
 * Not Envoy's `x-envoy-attempt-count`, which proxies set whether or not anybody retries.
 */
export const attemptHeader = 'plimsoll-attempt';

/** The header's value for a request sent here; undefined where nobody makes it again. */
export function attemptHeaderValue(attempt?: Attempt): string | undefined {
  const repeated = attempt?.repeats === true ? attempt : repeatedAttempt();
  return repeated === undefined ? undefined : String(repeated.number);
}

/**
 * Runs the handler of a request as an attempt of its caller, so that no retry in it multiplies the caller's. Without
 * the header, or with one that cannot be read, it just runs. Whoever sends it unasked loses our retries, no more.
 */
export async function runAsAttempt<T>(
  value: string | readonly string[] | undefined,
  handler: () => Promise<T>,
): Promise<T> {
  if (typeof value !== 'string' || !/^[1-9]\d{0,2}$/.test(value)) return handler();
  let repeats = true;
  const attempt: Attempt = {
    get signal() {
      return plainAttempt.signal;
    },
    number: Number(value),
    get repeats() {
      return repeats;
    },
  };
  try {
    return await runInAttempt(attempt, (run) => run(), handler);
  } finally {
    repeats = false;
  }
}
