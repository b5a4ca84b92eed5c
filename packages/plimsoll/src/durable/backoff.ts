import { isPlimsollError } from '../kernel/errors.ts';

export interface BackoffOptions {
  /** Wait after the first failure. Default 1000. */
  readonly baseMs?: number;
  /** Longest wait. Default 300_000. */
  readonly maxMs?: number;
}

export const backoffDefaults: Required<BackoffOptions> = { baseMs: 1_000, maxMs: 300_000 };

/**
 * Exponential with equal jitter: half of the wait is fixed, half random, so that tasks that failed together
 * do not come back together (Brooker, "Exponential Backoff And Jitter", AWS 2015).
 */
export function backoffMs(attempt: number, options: BackoffOptions, random: () => number): number {
  const { baseMs, maxMs } = { ...backoffDefaults, ...options };
  const full = Math.min(maxMs, baseMs * 2 ** Math.min(attempt - 1, 30));
  return full * (0.5 + random() / 2);
}

/** How long a refusal asks to be left alone, at most as long as the longest backoff; 0 when it does not say. */
export function askedMs(failure: unknown): number {
  const asked = isPlimsollError(failure) ? failure.data['retryAfterMs'] : undefined;
  return typeof asked === 'number' && asked > 0 ? Math.min(asked, backoffDefaults.maxMs) : 0;
}
