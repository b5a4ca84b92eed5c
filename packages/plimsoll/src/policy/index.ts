/**
 * `plimsoll/policy`: everything that guards the calls to one dependency, in the one order that is right.
 *
 * Guarantee: deadline → retry → breaker → bulkhead → attempt timeout → call. So a retry is another question to the
 * breaker and another permit of the bulkhead; a wait in the bulkhead does not use up the time of the attempt; what the
 * bulkhead refuses and what the caller cancels never counts against the dependency; a dependency that hangs holds no
 * more than the bulkhead's permits.
 *
 * Authoritative: this process. Each guard alone has its own page.
 *
 * Not promised: that work which was given up has stopped: it has, if it looks at the signal of its attempt.
 *
 * On failure: the error of the last attempt, or the refusal of a guard (PL_BREAKER_OPEN, PL_BULKHEAD_FULL,
 * PL_TIMEOUT, PL_DEADLINE, PL_ABORTED).
 */
export { createPolicy, type Policy, type PolicyCall, type PolicyState } from './policy.ts';
export { policyDefaults, type PolicyOptions } from './options.ts';
