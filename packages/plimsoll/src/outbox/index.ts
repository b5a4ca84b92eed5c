/**
 * `plimsoll/outbox`: events that exist exactly when their transaction committed.
 *
 * Guarantee: {@link insertEvents} writes in your transaction; the relay gives every committed event a dense
 * position and makes one task for each subscription, in one transaction. It takes rows, not rows after a
 * cursor, so an event whose transaction committed late, or out of the order of ids, is never skipped.
 *
 * Authoritative: `plimsoll.event`. A row in `plimsoll.outbox` has no position yet.
 *
 * States of an event: in the outbox → in the log, with a task per subscription that existed at that moment.
 *
 * Not promised: the order in which subscriptions see events; a subscription runs several at once.
 *
 * On failure: a relay that dies rolls back, and the next one, in this process or another, starts again.
 */
export { deliveryHandler, type RunningDelivery } from './delivery-handler.ts';
export { insertEvents, insertInbox, type NewEvent, type RecordedEvent } from './events.ts';
export { newEvent, type EventDeclaration } from './new-event.ts';
export { createRelay, relayDefaults, type RelayOptions, type SubscriptionRecord } from './relay.ts';
export { outboxMigrations } from './migrations.ts';
