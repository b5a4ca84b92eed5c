/**
 * `plimsoll/breaker`: what does not answer any more is left alone for a while, and its callers are told at once.
 *
 * Guarantee: while it is open no call gets through. After a break, `probes` calls do (one by default) however many
 * arrive, and the rest fail at once. A call counts only in the state in which it began: what ends late neither opens
 * nor closes. Cancelled calls, refusals of other guards and 4xx never count. Every call costs the same, whatever the
 * window holds.
 *
 * Authoritative: this process. Others have breakers of their own.
 *
 * States: closed → open → half-open → closed (a growing part of the calls at first) | open, for longer.
 *
 * Not promised: that a call ends. Nothing is timed or aborted here, that is `plimsoll/timeout`; a probe that never
 * ends is given up after `probeMaxMs`.
 *
 * On failure: PL_BREAKER_OPEN with `retryAfterMs`, and what opened it as `cause`. A `classify` that throws counts the
 * call as failed and is told on the background channel.
 */
export { createBreaker, type Breaker, type BreakerStatus } from './breaker.ts';
export { breakerDefaults, type BreakerOptions } from './options.ts';
export type { Permit } from './permit.ts';
export { withFallback, type Degradable } from './fallback.ts';
export { failureKind, type FailureKind } from '../kernel/failure-kind.ts';
export type { Attempt, Guard, Work } from '../kernel/attempt.ts';
