import type { Clock } from '../kernel/clock.ts';
import type { Problem } from '../kernel/errors.ts';
import type { RetryBudget } from './budget.ts';

export interface HedgeOptions {
  /**
   * How long the first call is alone before a second one is made beside it. Default: the 95th percentile of the last
   * 128 calls, and none until 20 have ended.
   */
  readonly delayMs?: number;
}

export interface RetryOptions {
  /** What is called; shown in errors, channels and state. */
  readonly name: string;
  /** Whether the work may be done twice: queries, and commands that carry their key. A call can say it too. Default false. */
  readonly safe?: boolean;
  /** Calls in all, the first and hedges among them. Default 3. */
  readonly attempts?: number;
  /** The n-th wait is random, from 0 to `baseMs * 2^(n-1)`. Default 50. */
  readonly baseMs?: number;
  /** Longest such wait. Default 1000. */
  readonly maxMs?: number;
  /** Who asks to be left alone for longer than this is not called again. Default 10_000. */
  readonly maxRetryAfterMs?: number;
  /** Shared with other guards of the same dependency. Default: one of its own, with `retryBudgetDefaults`. */
  readonly budget?: RetryBudget;
  /** A second call beside one that is slow; only for queries. Default none. */
  readonly hedge?: HedgeOptions;
  /**
   * Whether safe work that failed like this may be made again. Never asked about what was cancelled, nor about
   * PL_COMMIT_UNKNOWN. Default {@link isRetryable}.
   */
  readonly retryable?: (error: unknown) => boolean;
  /**
   * Whether retries inside the work, however deep, are told that this one repeats it. Without it the work must pass
   * its attempt on (`within`); that saves some 150 ns a call. Default true.
   */
  readonly ambient?: boolean;
  /** The app that messages on the channels belong to. Default: the guard. */
  readonly scope?: object;
  readonly clock?: Clock;
  /** From 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
}

/** Times in milliseconds. */
export const retryDefaults = {
  safe: false,
  attempts: 3,
  baseMs: 50,
  maxMs: 1_000,
  maxRetryAfterMs: 10_000,
  ambient: true,
} as const satisfies Partial<RetryOptions>;

export function retryProblems(given: RetryOptions): Problem[] {
  const problems: Problem[] = [];
  const { attempts, baseMs, maxMs, maxRetryAfterMs } = { ...retryDefaults, ...given };
  function demand(path: string, value: unknown, holds: boolean, allowed: string): void {
    if (!holds) problems.push({ path, message: `is ${String(value)}; give ${allowed}` });
  }
  const isTime = (ms: number): boolean => ms >= 0 && ms <= longestMs;
  demand(
    'name',
    given.name,
    typeof given.name === 'string' && given.name !== '',
    'a name for what is called',
  );
  demand('attempts', attempts, Number.isSafeInteger(attempts) && attempts >= 1, 'a whole number from 1');
  demand('baseMs', baseMs, isTime(baseMs), `milliseconds from 0 to ${longestMs}`);
  demand(
    'maxMs',
    maxMs,
    isTime(maxMs) && !(maxMs < baseMs),
    `milliseconds from baseMs, ${baseMs}, to ${longestMs}`,
  );
  demand('maxRetryAfterMs', maxRetryAfterMs, isTime(maxRetryAfterMs), `milliseconds from 0 to ${longestMs}`);
  if (given.hedge !== undefined) {
    const { delayMs } = given.hedge;
    demand(
      'hedge.delayMs',
      delayMs,
      delayMs === undefined || isTime(delayMs),
      `milliseconds from 0 to ${longestMs}`,
    );
    demand('attempts', attempts, attempts !== 1, 'at least 2 where calls are hedged: the second counts');
  }
  return problems;
}

/** A timer set for longer fires at once; half of it, because a wait is what was asked for and a random part. */
const longestMs = 2 ** 30;
