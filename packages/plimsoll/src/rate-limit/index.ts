/**
 * `plimsoll/rate-limit`: at most so many points in so much time, for each key.
 *
 * Guarantee: a rate is exact (GCRA): in any stretch of time no more than `burst` points and those that came back in
 * it. A quota counts in windows of the calendar in UTC. Rules of one limit are taken all together or not at all; what
 * is denied costs nothing. Memory is bounded, and nobody loses his own counter by sending other keys.
 *
 * Authoritative: the counters of the store, by its own clock: of the process, or of the Redis or PostgreSQL server.
 *
 * Not promised: that counters survive a crash of the process, of Redis or of PostgreSQL (its table is unlogged); that
 * a call which the store did not answer in time took no points.
 *
 * On failure: a shared store that does not answer within `storeTimeoutMs` is answered for as `whenStoreFails` says:
 * open, closed, or this process's share. It is found again within half a second.
 */
export { createRateLimit, rateLimitDefaults } from './rate-limit.ts';
export type { RateLimit, RateLimitOptions, RateLimitState } from './rate-limit.ts';
export { createWaitingLimit, waitingLimitDefaults } from './waiting-limit.ts';
export type { WaitingLimit, WaitingLimitOptions, WaitingLimitState } from './waiting-limit.ts';
export type { Period, QuotaRule, RateLimitRule, RateRule, StoreRule } from './rules.ts';
export type { Degraded, RateLimitResult, RuleState } from './result.ts';
export type { StoreFailure, StoreHealth } from './shared-counters.ts';
export type { CountersOptions, Decision, Level, RateCounters, RateLimitStore } from './store.ts';
export { memoryStore, memoryStoreDefaults, type MemoryStoreOptions } from './memory-store.ts';
export { postgresStore, type PostgresClient } from './postgres-store.ts';
export { rateLimitMigrations } from './migrations.ts';
export { rateLimitHeaders } from './headers.ts';
export { rateLimitHook, rateLimitMiddleware } from './http.ts';
export type { HttpRateLimitOptions, ReplyLike, ResponseLike } from './http.ts';
export { addressKey, byApiKey, byClientIp, byPrincipal, byTenant } from './client-key.ts';
export type { ClientIpOptions, ClientRequest } from './client-key.ts';
