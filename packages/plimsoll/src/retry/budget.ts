import { systemClock, type Clock } from '../kernel/clock.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';

export interface RetryBudgetOptions {
  /**
   * How many calls may be made again for each first one. Default 0.1, as gRPC's `tokenRatio` (gRFC A6), the example
   * of Finagle's `percentCanRetry` and the 10 % of Google's SRE book.
   */
  readonly ratio?: number;
  /**
   * Repetitions per second that little traffic may have all the same. They are not added to those of the ratio: a
   * second with as many has used them up. Default 3, as Envoy's `min_retry_concurrency` and failsafe-go's
   * `minConcurrency`, which count those under way.
   */
  readonly minPerSecond?: number;
  /**
   * Repetitions saved up in good times, at most; what is there when many calls fail at once. Default 100, as the AWS
   * SDKs (500 tokens at 5 each).
   */
  readonly maxSaved?: number;
  readonly clock?: Clock;
}

export const retryBudgetDefaults = { ratio: 0.1, minPerSecond: 3, maxSaved: 100 } as const;

export interface RetryBudgetState {
  /** Repetitions that the first calls have earned and nobody has used. */
  readonly saved: number;
  /** Repetitions that are left of this second's minimum. */
  readonly minimumLeft: number;
  readonly spent: number;
  readonly refused: number;
}

/** What may be made again, by retrying or hedging, of all the calls that share it. */
export interface RetryBudget {
  /** A first call was made. */
  deposit(): void;
  /** Takes one repetition; false, and nothing taken, when there is none. */
  withdraw(): boolean;
  state(): RetryBudgetState;
}

const one = 1_000_000;

/** For several guards that call one dependency; a guard without one makes its own. */
export function createRetryBudget(options: RetryBudgetOptions = {}): RetryBudget {
  throwIfProblems('retry budget', retryBudgetProblems(options));
  const { clock = systemClock } = options;
  const { ratio, minPerSecond, maxSaved } = { ...retryBudgetDefaults, ...options };
  // Whole millionths, because ten tenths add up to 0.9999999999999999.
  const earned = Math.round(ratio * one);
  const most = maxSaved * one;
  let saved = 0;
  let minimum = minPerSecond;
  let minimumAtMs = clock.monotonicMs();
  let spent = 0;
  let refused = 0;

  function refill(): void {
    const nowMs = clock.monotonicMs();
    minimum = Math.min(minPerSecond, minimum + ((nowMs - minimumAtMs) / 1_000) * minPerSecond);
    minimumAtMs = nowMs;
  }

  return {
    deposit() {
      saved = Math.min(most, saved + earned);
    },
    withdraw() {
      refill();
      if (saved < one && minimum < 1) {
        refused += 1;
        return false;
      }
      // From both, so that the minimum is a floor and not an extra.
      if (saved >= one) saved -= one;
      minimum = Math.max(0, minimum - 1);
      spent += 1;
      return true;
    },
    state() {
      refill();
      return { saved: saved / one, minimumLeft: minimum, spent, refused };
    },
  };
}

export function retryBudgetProblems(options: RetryBudgetOptions): Problem[] {
  const { ratio, minPerSecond, maxSaved } = { ...retryBudgetDefaults, ...options };
  const problems: Problem[] = [];
  if (!(ratio >= 0 && ratio <= 1))
    problems.push({ path: 'ratio', message: `is ${String(ratio)}; give a number from 0 to 1` });
  if (!(minPerSecond >= 0 && Number.isFinite(minPerSecond)))
    problems.push({ path: 'minPerSecond', message: `is ${String(minPerSecond)}; give a number from 0` });
  if (!(maxSaved >= 1 && Number.isFinite(maxSaved)))
    problems.push({ path: 'maxSaved', message: `is ${String(maxSaved)}; give a number from 1` });
  return problems;
}
