import { createCache as asyncCacheDedupe } from 'async-cache-dedupe';
import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { createCache as cacheManager } from 'cache-manager';
import { Cacheable } from 'cacheable';
import { Loader } from 'layered-loader';
import { LRUCache } from 'lru-cache';
import { cachePolicy, createCache } from 'plimsoll/cache';

export const hourMs = 3_600_000;
/** More than any comparison keeps, so that none of it is about eviction. */
const room = 200_000;

export type LoadValue = (key: string) => Promise<unknown>;

/** One cache in this process, by the names that all have. */
export interface Kept {
  getOrSet(key: string): Promise<unknown>;
  /** As its users read a hit; a promise or not, as it gives it. */
  get(key: string): unknown;
  invalidateKey(key: string): Promise<unknown>;
  invalidateTag?(tag: string): Promise<unknown>;
}

export interface Peer {
  readonly name: string;
  readonly setting: string;
  /** Whether it has tags. */
  readonly tags: boolean;
  open(load: LoadValue, tagsOf?: (key: string) => string[]): Kept;
}

const plimsoll: Peer = {
  name: 'plimsoll',
  setting: 'process tier by SIEVE, values by reference; always at least one tag',
  tags: true,
  open(load, tagsOf) {
    const cache = createCache({
      name: 'bench',
      freeze: false,
      process: { maxEntries: room, maxBytes: 2 ** 40 },
    });
    const tags = tagsOf ?? ['all'];
    const policy = cachePolicy({ ttlMs: hourMs, tags: tags as ['all'], failureMs: 0 });
    const from = ({ key }: { key: string }): Promise<unknown> => load(key);
    return {
      getOrSet: (key) => cache.get(key, policy, from),
      get: (key) => cache.get(key, policy, from),
      invalidateKey: (key) => cache.invalidate({ keys: [key] }),
      invalidateTag: (tag) => cache.invalidate({ tags: [tag] }),
    };
  },
};

const bentocache: Peer = {
  name: 'bentocache',
  setting: '1.6.1, memory driver with serialize: false (its faster one), maxItems set',
  tags: true,
  open(load, tagsOf) {
    const driver = memoryDriver({ maxItems: room, serialize: false });
    const bento = new BentoCache({ default: 'm', stores: { m: bentostore().useL1Layer(driver) } });
    return {
      getOrSet: (key) =>
        bento.getOrSet({
          key,
          ttl: hourMs,
          factory: () => load(key),
          ...(tagsOf === undefined ? {} : { tags: tagsOf(key) }),
        }),
      get: (key) => bento.get({ key }),
      invalidateKey: (key) => bento.delete({ key }),
      invalidateTag: (tag) => bento.deleteByTag({ tags: [tag] }),
    };
  },
};

const cacheable: Peer = {
  name: 'cacheable',
  setting: '2.5.0, memory store; tags: true where tags are compared',
  tags: true,
  open(load, tagsOf) {
    const cache = new Cacheable({ ttl: hourMs, tags: tagsOf !== undefined });
    return {
      async getOrSet(key) {
        if (tagsOf === undefined) return await cache.getOrSet(key, () => load(key));
        const kept = await cache.get(key);
        if (kept !== undefined) return kept;
        const value = await load(key);
        await cache.set(key, value, { ttl: hourMs, tags: tagsOf(key) });
        return value;
      },
      get: (key) => cache.get(key),
      invalidateKey: (key) => cache.delete(key),
      invalidateTag: (tag) => cache.tags.invalidateTag(tag),
    };
  },
};

const manager: Peer = {
  name: 'cache-manager',
  setting: '7.2.9, default store',
  tags: false,
  open(load) {
    const cache = cacheManager({ ttl: hourMs });
    return {
      getOrSet: (key) => cache.wrap(key, () => load(key)),
      get: (key) => cache.get(key),
      invalidateKey: (key) => cache.del(key),
    };
  },
};

const dedupe: Peer = {
  name: 'async-cache-dedupe',
  setting: '3.4.0, memory storage; invalidation on where tags are compared',
  tags: true,
  open(load, tagsOf) {
    const cache = asyncCacheDedupe({
      ttl: 3_600,
      storage: { type: 'memory', options: { size: room, invalidation: true } },
    });
    const made = cache.define(
      'value',
      { references: (key: string) => tagsOf?.(key) ?? null },
      load,
    ) as unknown as { value(key: string): Promise<unknown> };
    return {
      getOrSet: (key) => made.value(key),
      get: (key) => made.value(key),
      invalidateKey: (key) => cache.clear('value', key),
      invalidateTag: (tag) => cache.invalidateAll(tag),
    };
  },
};

const layered: Peer = {
  name: 'layered-loader',
  setting: '14.2.2, in-memory cache (LRU) only',
  tags: false,
  open(load) {
    const loader = new Loader({
      inMemoryCache: { cacheType: 'lru-object', ttlInMsecs: hourMs, maxItems: room },
      dataSources: [{ name: 'bench', get: load, getMany: () => Promise.reject(new Error('unused')) }],
    });
    return {
      getOrSet: (key) => loader.get(key),
      get: (key) => loader.getInMemoryOnly(key),
      invalidateKey: (key) => loader.invalidateCacheFor(key),
    };
  },
};

const lru: Peer = {
  name: 'lru-cache',
  setting: '11.5.3 with ttl; get, and fetch() for getOrSet',
  tags: false,
  open(load) {
    const cache = new LRUCache<string, object>({
      max: room,
      ttl: hourMs,
      fetchMethod: (key) => load(key) as Promise<object>,
    });
    return {
      getOrSet: (key) => cache.fetch(key),
      get: (key) => cache.get(key),
      invalidateKey: async (key) => cache.delete(key),
    };
  },
};

export const peers: readonly Peer[] = [plimsoll, bentocache, cacheable, manager, dedupe, layered, lru];
