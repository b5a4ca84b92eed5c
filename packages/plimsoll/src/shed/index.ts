/**
 * `plimsoll/shed`: requests that cannot be served in time are refused before anything is done for them.
 *
 * Guarantee: a request is admitted only while the event loop keeps up and the adaptive limit of its class has room;
 * lower priorities are refused first, and a client that has much before one that has little; a refusal is 503 with a
 * `Retry-After` that differs from client to client, made beforehand, written before routing and before the body.
 *
 * Authoritative: two signals that do not know each other. The event loop, by the age of its turn and the time it
 * has to spare, sees work that keeps the processor busy; the adaptive limit (`plimsoll/limit`) sees work that waits elsewhere.
 *
 * Not promised: fairness among clients that can take any number of names, a share for each class of routes, and
 * quotas, which are `plimsoll/rate-limit`'s.
 *
 * On failure: health, metrics and the gateway's own paths are never refused. An answer that timed out, or that its
 * client gave up after the usual time, counts against the limit.
 */
export { answerRefusal, shedExpress, shedFastify, shedListener } from './attach.ts';
export { type LoopPressure } from './loop-pressure.ts';
export { isWatching, shedDefaults, type Priority, type ShedOptions } from './options.ts';
export { type Refusal, type RefusalReason } from './refusal.ts';
export { createShedder, type Admission, type Shedder, type ShedderState } from './shedder.ts';
