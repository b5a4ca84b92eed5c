import type { Guard, Work } from '../kernel/attempt.ts';
import { failureKind, type FailureKind } from '../kernel/failure-kind.ts';

/** The value asked for, or another one in its place, and why. */
export type Degradable<T, F = T> =
  | { readonly degraded: false; readonly value: T }
  | { readonly degraded: true; readonly value: F; readonly reason: unknown };

/**
 * The value of `work`; where that failed or was refused, the value of `fallback`, marked as degraded. The caller's
 * own mistakes (4xx) and cancelled calls reject as they are: another value would hide them. A `fallback` that throws
 * rejects with its error, which has the first one as `cause`.
 */
export async function withFallback<T, F>(
  guard: Guard,
  work: Work<T>,
  fallback: (reason: unknown) => F | Promise<F>,
  classify: (error: unknown) => FailureKind = failureKind,
): Promise<Degradable<T, F>> {
  let reason: unknown;
  try {
    return { degraded: false, value: await guard.run(work) };
  } catch (error) {
    const kind = classify(error);
    if (kind !== 'failure' && kind !== 'refused') throw error;
    reason = error;
  }
  try {
    return { degraded: true, value: await fallback(reason), reason };
  } catch (error) {
    // A cause of its own tells more, and the error itself may have been thrown again.
    if (error instanceof Error && error.cause === undefined && error !== reason)
      Reflect.defineProperty(error, 'cause', { value: reason, configurable: true, writable: true });
    throw error;
  }
}
