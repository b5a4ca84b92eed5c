/**
 * `plimsoll/cache`: values kept in tiers, which end when what they show has changed.
 *
 * Guarantee: when `invalidate` has resolved, no `get` that begins from then on in this process is answered with anything
 * older, whatever was being loaded meanwhile; in the others as soon as the bus has told them, and while the bus cannot
 * tell them they keep nothing. One load of a key at a time, in all processes where there is a shared tier. A reader
 * who has written (the causality token) is never answered with less than the write. With `truth`, one who has read past
 * the cache is answered with nothing older by it, in any process: for what is invalidated by rows (`recordInvalidation`).
 * A shared tier that is dead, slow or
 * hanging fails no request and keeps none waiting for longer than `sharedSoftMs`.
 *
 * Authoritative: what the loader reads. Versions of tags are counters, taken before a load begins: a load that began
 * before an invalidation is not kept after it. No clock of one machine is compared with that of another.
 *
 * States of a value: fresh; stale and answered while it is refreshed; kept only for when it cannot be; gone. States of
 * the process tier: trusted, or empty. States of the shared tier: up, down.
 *
 * Not promised: that another process hears of an invalidation before this one returns; without `truth`, an order of what
 * one reader sees past the cache and then by another process within that time; that anything is kept.
 *
 * On failure: the loader's error goes to all who wait for it and is remembered for a while, also by the other processes
 * that share a tier; a stale value is answered instead where the policy allows it. An invalidation that the shared tier could not be told is tried until it is.
 */
export { createCache } from './create-cache.ts';
export type { Cache, CacheState, CacheView, Invalidating, LoadingOptions, Writing } from './cache.ts';
export type { CacheCounts } from './counts.ts';
export { cacheDefaults, type CacheOptions, type ProcessTierOptions } from './options.ts';
export { cachePolicy, cachePolicyDefaults } from './policy.ts';
export type { CachePolicy, CachePolicyOptions, Load, Loading } from './policy.ts';
export type { Mark, Position } from './position.ts';
export { jsonSerialiser, v8Serialiser, type Serialiser } from './serialiser.ts';
export type { BusConnection, BusMessage, BusOptions, InvalidationBus } from './bus.ts';
export { cacheMigrations } from './migrations.ts';
export { postgresCacheStore, postgresCacheStoreDefaults } from './postgres-store.ts';
export type { PostgresCacheStoreOptions } from './postgres-store.ts';
export { insertInvalidation, recordInvalidation } from './invalidation-rows.ts';
export type { RecordedInvalidation, Recording } from './invalidation-rows.ts';
export { createInvalidationRelay, invalidationRelayDefaults } from './relay.ts';
export type { InvalidationRelay, InvalidationRelayOptions } from './relay.ts';
export { invalidationTruth } from './truth.ts';
export type { InvalidationTruth, InvalidationTruthOptions, TruthAnswer } from './truth.ts';
export { postgresBus, type PostgresBusOptions } from './postgres-bus.ts';
export { SequencedBus, sequencedBusDefaults } from './sequenced-bus.ts';
export type { MessageStream, SequencedBusOptions, StreamPart } from './sequenced-bus.ts';
export { memoryBus } from './memory-bus.ts';
export { memorySharedStore } from './memory-shared-store.ts';
export { sharedStoreSuite, type SharedStoreCase } from './store-suite.ts';
export { nextVersion, randomVersion } from './shared-store.ts';
export type {
  SharedAnswer,
  SharedAsk,
  SharedFill,
  SharedInvalidation,
  SharedStore,
  SharedTable,
  SharedTableOptions,
  SharedValue,
} from './shared-store.ts';
