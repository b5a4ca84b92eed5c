/**
 * `plimsoll/limit`: as many calls at once as the other side can use, found by measuring.
 *
 * Guarantee: at most `limit` calls are under way; the rest are refused at once with PL_OVERLOADED, before anything
 * was called. Under overload the limit stays near what the other side works on at once and a short queue, for as
 * long as the overload lasts; what merely became slower keeps its concurrency; the limit never falls below
 * `minLimit`, so it finds back.
 *
 * Authoritative: round trips of answered calls, and calls that timed out. Refusals, quick errors and callers that
 * left early say nothing of load and are not counted.
 *
 * States: measuring; for a moment now and then, on trial with a lower limit.
 *
 * Not promised: fairness between callers and priorities, which are `plimsoll/shed`'s; a limit shared by processes;
 * waiting, which is `plimsoll/queue`'s.
 *
 * On failure: when half of the calls or more time out, the limit is halved with each window, down to `minLimit`.
 */
export { type LimitReason } from './concurrency.ts';
export { createLimit, type Limit, type LimitState, type Permit } from './limit.ts';
export { limitDefaults, type LimitOptions } from './options.ts';
