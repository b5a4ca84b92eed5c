/**
 * `plimsoll/retry`: a failed call is made again where that is safe and helps, and never so often that it hurts.
 *
 * Guarantee: work that is not safe is done once. Of the layers around each other only the outermost repeats, in this
 * process and over HTTP. All calls that share a budget are repeated for at most a tenth of the first ones, or 3 a
 * second where that is more. No call is made again after the deadline, nor when a typical one would end after it. A
 * hedged call has at most one more beside it, and the loser is aborted.
 *
 * Authoritative: the budget of this process; whoever calls says what is safe.
 *
 * Not promised: that a call succeeds, nor that its work is done at most once where it was called safe.
 *
 * On failure: the error of the last attempt, as it is, also when the budget is spent; PL_ABORTED or PL_DEADLINE when
 * the caller goes away between two attempts.
 */
export { createRetry, type Retry, type RetryCall, type RetryState } from './retry.ts';
export {
  createRetryBudget,
  retryBudgetDefaults,
  type RetryBudget,
  type RetryBudgetOptions,
  type RetryBudgetState,
} from './budget.ts';
export { retryDefaults, type HedgeOptions, type RetryOptions } from './options.ts';
export { isRetryable, parseRetryAfter } from './retryable.ts';
export { attemptHeader, attemptHeaderValue, runAsAttempt } from './header.ts';
export type { Attempt, Guard, Work } from '../kernel/attempt.ts';
