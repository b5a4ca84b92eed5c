/**
 * `plimsoll/redis`: Redis or Valkey for the patterns that share state between processes, by your own client of
 * `redis` (node-redis) or `ioredis`.
 *
 * Guarantee: counters of rate limits are changed by one script in one round trip, by the server's clock; each key
 * expires when it holds nothing any more; scripts are sent again when the server has lost them. A value of a cache is
 * kept only if nothing it rests on was invalidated since its load began, compared in the same script. What clients have
 * seen is joined in one script.
 *
 * Authoritative: the Redis primary. What a failover loses was never taken.
 *
 * Not promised: to connect, reconnect or close; that is the client's. Nothing is read from replicas.
 *
 * On failure: no command is sent while the client has no connection, so that none piles up in it; the pattern says
 * what holds instead (`whenStoreFails` of a rate limit).
 */
export { redisRateLimitStore, redisRateLimitStoreDefaults } from './rate-limit-store.ts';
export type { RedisRateLimitStoreOptions } from './rate-limit-store.ts';
export { redisBus } from './cache-bus.ts';
export type { IoRedisSubscriber, NodeRedisSubscriber, RedisBusOptions } from './cache-bus.ts';
export { redisCacheStore, redisCacheStoreDefaults, type RedisCacheStoreOptions } from './cache-store.ts';
export { redisSeenStore, redisSeenStoreDefaults, type RedisSeenStoreOptions } from './seen-store.ts';
export type { IoRedisLike, NodeRedisClusterLike, NodeRedisLike, RedisClient } from './client.ts';
