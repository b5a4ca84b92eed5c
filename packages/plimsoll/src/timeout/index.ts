/**
 * `plimsoll/timeout`: a call is not waited for longer than it may take, nor longer than its caller waits.
 *
 * Guarantee: a call settles once: as its work does, or with PL_TIMEOUT after `ms`, with PL_DEADLINE when the deadline
 * of the request comes first, with PL_ABORTED when the caller goes away. It is not begun when no time is left. The
 * signal of the attempt aborts in these three cases and never otherwise, not after success either. A call costs an
 * entry in a list and no timer; its signal is made when it is read.
 *
 * Authoritative: the monotonic clock of this process. Between processes the remaining milliseconds travel, not a time
 * of day.
 *
 * Not promised: that the work ends. Work that does not look at the signal goes on, and what it asked for may be done;
 * how it ends is then ignored. That a process stays up for a timeout: the timer does not hold it.
 *
 * On failure: PL_TIMEOUT, PL_DEADLINE or PL_ABORTED, also as the reason of the signal. A header that cannot be read
 * counts as none.
 */
export {
  createTimeout,
  timeoutDefaults,
  type Timeout,
  type TimeoutOptions,
  type TimeoutState,
} from './timeout.ts';
export {
  parseRemaining,
  remainingDefaults,
  remainingHeader,
  timeoutHeader,
  type RemainingOptions,
} from './remaining.ts';
export type { Attempt, Guard, Work } from '../kernel/attempt.ts';
