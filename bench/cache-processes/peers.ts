import KeyvRedis from '@keyv/redis';
import { createCache as asyncCacheDedupe } from 'async-cache-dedupe';
import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { redisBusDriver, redisDriver } from 'bentocache/drivers/redis';
import { createCache as cacheManager } from 'cache-manager';
import { Cacheable } from 'cacheable';
import { Redis } from 'ioredis';
import { Keyv } from 'keyv';
import { Loader, RedisCache } from 'layered-loader';
import { cachePolicy, createCache } from 'plimsoll/cache';
import { redisBus, redisCacheStore } from 'plimsoll/redis';
import { createClient } from 'redis';

export type Load = () => Promise<unknown>;

/** One cache of a process that shares a Redis with others; all with the tag `all`, where there are tags. */
export interface SharedKept {
  getOrSet(key: string, load: Load): Promise<unknown>;
  /** Without a loader. Undefined when there is none. */
  get(key: string): unknown;
  invalidateKey(key: string): Promise<unknown>;
  invalidateTag?(tag: string): Promise<unknown>;
}

export interface SharedPeer {
  readonly name: string;
  readonly setting: string;
  /** Whether it tells the other processes what was invalidated. */
  readonly bus: boolean;
  open(port: number): Promise<SharedKept>;
}

const hourMs = 3_600_000;
const room = 200_000;

const plimsoll: SharedPeer = {
  name: 'plimsoll',
  setting: 'process tier, redisCacheStore and redisBus with a subscriber (node-redis); sharedSoftMs 5,000',
  bus: true,
  async open(port) {
    const url = `redis://127.0.0.1:${port}`;
    const [client, subscriber] = [createClient({ url }), createClient({ url })];
    for (const each of [client, subscriber]) each.on('error', () => undefined);
    await Promise.all([client.connect(), subscriber.connect()]);
    const cache = createCache({
      name: 'bench',
      processes: 'several',
      freeze: false,
      process: { maxEntries: room },
      shared: redisCacheStore(client),
      bus: redisBus({ client, subscriber }),
      // The machine is busy on purpose; nothing of this is about a slow Redis.
      sharedSoftMs: 5_000,
      sharedHardMs: 10_000,
    });
    await cache.start();
    const policy = cachePolicy({ ttlMs: hourMs, tags: ['all'] });
    return {
      getOrSet: (key, load) => cache.get(key, policy, load),
      get: (key) => cache.peek(key),
      invalidateKey: (key) => cache.invalidate({ keys: [key] }),
      invalidateTag: (tag) => cache.invalidate({ tags: [tag] }),
    };
  },
};

const bentocache: SharedPeer = {
  name: 'bentocache',
  setting:
    '1.6.1, memory and Redis drivers, Redis bus (ioredis); with serialize: false in memory it ends its process when the bus tells it of a tag',
  bus: true,
  async open(port) {
    const connection = { host: '127.0.0.1', port };
    const bento = new BentoCache({
      default: 'm',
      stores: {
        m: bentostore()
          .useL1Layer(memoryDriver({ maxItems: room }))
          .useL2Layer(redisDriver({ connection }))
          .useBus(redisBusDriver({ connection })),
      },
    });
    return {
      getOrSet: (key, load) => bento.getOrSet({ key, ttl: hourMs, tags: ['all'], factory: load }),
      get: (key) => bento.get({ key }),
      invalidateKey: (key) => bento.delete({ key }),
      invalidateTag: (tag) => bento.deleteByTag({ tags: [tag] }),
    };
  },
};

const keyvOn = (port: number): Keyv => new Keyv(new KeyvRedis(`redis://127.0.0.1:${port}`));

const cacheable: SharedPeer = {
  name: 'cacheable',
  setting: '2.5.0, memory and @keyv/redis 5.1.6, no sync',
  bus: false,
  async open(port) {
    const cache = new Cacheable({ ttl: hourMs, secondary: keyvOn(port) });
    return {
      getOrSet: (key, load) => cache.getOrSet(key, load),
      get: (key) => cache.get(key),
      invalidateKey: (key) => cache.delete(key),
    };
  },
};

const manager: SharedPeer = {
  name: 'cache-manager',
  setting: '7.2.9, memory and @keyv/redis 5.1.6',
  bus: false,
  async open(port) {
    const cache = cacheManager({ ttl: hourMs, stores: [new Keyv(), keyvOn(port)] });
    return {
      getOrSet: (key, load) => cache.wrap(key, load),
      get: (key) => cache.get(key),
      invalidateKey: (key) => cache.del(key),
    };
  },
};

const dedupe: SharedPeer = {
  name: 'async-cache-dedupe',
  setting: '3.4.0, Redis storage (ioredis), invalidation on',
  bus: false,
  async open(port) {
    const client = new Redis(port);
    const cache = asyncCacheDedupe({
      ttl: 3_600,
      storage: { type: 'redis', options: { client: client as never, invalidation: true } },
    });
    let loading: Load = async () => undefined;
    const made = cache.define('value', { references: () => ['all'] }, () => loading()) as unknown as {
      value(key: string): Promise<unknown>;
    };
    return {
      getOrSet(key, load) {
        loading = load;
        return made.value(key);
      },
      get: () => undefined,
      invalidateKey: (key) => cache.clear('value', key),
      invalidateTag: (tag) => cache.invalidateAll(tag),
    };
  },
};

const layered: SharedPeer = {
  name: 'layered-loader',
  setting: '14.2.2, memory and Redis (ioredis), no notifications',
  bus: false,
  async open(port) {
    let loading: Load = async () => undefined;
    const loader = new Loader({
      inMemoryCache: { cacheType: 'lru-object', ttlInMsecs: hourMs, maxItems: room },
      asyncCache: new RedisCache(new Redis(port), { json: true, ttlInMsecs: hourMs }),
      dataSources: [
        { name: 'bench', get: () => loading(), getMany: () => Promise.reject(new Error('unused')) },
      ],
    });
    return {
      getOrSet(key, load) {
        loading = load;
        return loader.get(key);
      },
      get: (key) => loader.getInMemoryOnly(key),
      invalidateKey: (key) => loader.invalidateCacheFor(key),
    };
  },
};

/** `lru-cache` shares nothing. */
export const sharedPeers: readonly SharedPeer[] = [plimsoll, bentocache, cacheable, manager, dedupe, layered];
