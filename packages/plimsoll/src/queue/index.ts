/**
 * `plimsoll/queue`: a queue in memory that cannot grow without end.
 *
 * Guarantee: never more than `maxLength` items wait, none longer than `maxWaitMs` or than the request that it
 * belongs to lives; never more than `concurrency` are under way. What is taken is handled once, or given up with an
 * error; `offer` never waits. A handler that fails stops nothing. The handler runs in the async context of its
 * producer.
 *
 * Authoritative: this process. What waits is gone when it goes: work that must be done is a job.
 *
 * States of an item: refused, or waiting → under way → ended; from waiting also dropped.
 *
 * Not promised: with `newest-first-when-full`, that old items have their turn while the queue is saturated. That
 * whoever is told of space still finds it: ask again.
 *
 * On failure: PL_QUEUE_FULL with `retryAfterMs` for what is refused or has waited too long, PL_DRAINING when it is
 * closed, PL_DEADLINE and PL_ABORTED for what nobody waits for any more.
 */
export { createQueue } from './create-queue.ts';
export { type ConsumedQueue } from './consumers.ts';
export { type Queue, type QueueState } from './queue.ts';
export { queueDefaults, type HandledQueueOptions, type QueueOptions } from './options.ts';
export { type WaitingOrder } from '../kernel/waiting-line.ts';
