/**
 * `plimsoll/bulkhead`: at most so many calls to one thing at once, so that one slow dependency takes its share of
 * this process and no more.
 *
 * Guarantee: never more than `max` permits are under way; never more than `maxWaiting` calls wait, none longer than
 * `maxWaitMs` or than its own request lives. A call is made once or refused, never both; its permit comes back once,
 * whatever happens. Nobody overtakes whoever is next, so heavy calls are served too. Everything is O(1), and
 * however many wait, they share one timer.
 *
 * Authoritative: this process. Two processes let twice as many through.
 *
 * Not promised: that a call that was begun ends; put a timeout around the call itself. With
 * `newest-first-when-full`, that the old ones have their turn while the line is saturated.
 *
 * On failure: PL_BULKHEAD_FULL with `retryAfterMs` for what is refused or has waited too long, PL_DEADLINE and
 * PL_ABORTED for what nobody waits for any more.
 */
export { createBulkhead, type Bulkhead, type BulkheadState, type Release } from './bulkhead.ts';
export { bulkheadDefaults, type BulkheadOptions } from './options.ts';
export { type WaitingOrder } from '../kernel/waiting-line.ts';
export type { Attempt, Guard, Work } from '../kernel/attempt.ts';
