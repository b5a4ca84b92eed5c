/**
 * `plimsoll/memcached`: Memcached as the shared tier of caches.
 *
 * Guarantee: when an invalidation has resolved, nothing that was filled with what it has raised is answered any more, by
 * the versions that are read together with each value. A version that is lost (evicted, expired, a server that was
 * restarted) comes back at random, which ends what was filled with it.
 *
 * Authoritative: the items of one server. Versions, values and leases are items of their own; each is changed by
 * compare-and-set on the connection that it was read on.
 *
 * States of the client: connected; not, and connecting when it is next asked; closed.
 *
 * Not promised: several servers, or a proxy in front of some, as versions on one and values on another cannot be
 * restarted together. Times are exact as far as the wall clocks of the processes agree, and else to a second. Values
 * that are larger than an item may be (1 MiB unless the server is told otherwise) are not kept.
 *
 * On failure: a server that gives no answer is disconnected after `timeoutMs` and connected to when it is next asked;
 * the cache loads past it meanwhile and tells it what was invalidated when it is back.
 */
export { createMemcachedClient, memcachedClientDefaults } from './client.ts';
export type { MemcachedClient, MemcachedClientOptions } from './client.ts';
export { memcachedCacheStore, memcachedCacheStoreDefaults } from './cache-store.ts';
export type { MemcachedCacheStoreOptions } from './cache-store.ts';
