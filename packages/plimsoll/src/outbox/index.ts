/**
 * `plimsoll/outbox`: events that exist exactly when their transaction committed.
 *
 * Guarantee: {@link insertEvents} writes in your transaction; the relay gives every committed event a dense
 * position and makes one task for each subscription, in one transaction. It takes rows, not rows after a
 * cursor, so an event whose transaction committed late, or out of the order of ids, is never skipped. A
 * subscription that is ordered by key runs the events of one key one at a time, in the order of the log. A new one
 * may begin anywhere in the log, and gets each event from there on once.
 *
 * Authoritative: `plimsoll.event`. A row in `plimsoll.outbox` has no position yet.
 *
 * States of an event: in the outbox → in the log, with a task per subscription that is live → gone with its
 * partition, when it is older than what is retained and every reader of `plimsoll.log_reader` has passed it.
 *
 * States of a subscription: catching up from the log → live.
 *
 * Not promised: an order across keys, or for subscriptions that did not ask for one; they run several at once.
 *
 * On failure: a relay that dies rolls back, and the next one, in this process or another, starts again.
 */
export { deliveryHandler, type RunningDelivery } from './delivery-handler.ts';
export { insertEvents, insertInbox, type NewEvent, type RecordedEvent } from './events.ts';
export { type EventFilter } from './event-filter.ts';
export { newEvent, type EventDeclaration } from './new-event.ts';
export { createRelay, relayDefaults, type RelayOptions } from './relay.ts';
export { subscriptionDefaults, type StartFrom, type SubscriptionRecord } from './subscriptions.ts';
export {
  countReplay,
  replayOnce,
  replays,
  replayState,
  startReplay,
  stopReplay,
  type ReplayRequest,
  type ReplayState,
} from './replay.ts';
export {
  parkedDeliveries,
  retryParked,
  skipParked,
  type ParkedDelivery,
  type ParkedFilter,
} from './parked.ts';
export { listEvents, logBounds, type LoggedEvent } from './list-events.ts';
export { trace, type TraceSource, type TraceStart } from './trace.ts';
export { traceTree, type TraceFact, type TraceNode } from './trace-tree.ts';
export { eventLag, type EventLag, type SubscriptionLag } from './lag.ts';
export { createEventPressure, type EventBudget, type EventPressure } from './pressure.ts';
export { dropExpired, extendLog, partitionDefaults } from './partitions.ts';
export { outboxMigrations } from './migrations.ts';
