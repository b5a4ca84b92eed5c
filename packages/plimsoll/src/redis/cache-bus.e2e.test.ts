import { createClient } from 'redis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Cache } from '../cache/cache.ts';
import { createCache } from '../cache/create-cache.ts';
import { cachePolicy } from '../cache/policy.ts';
import type { SequencedBusOptions } from '../cache/sequenced-bus.ts';
import { redisBus } from './cache-bus.ts';
import { noRedis, startRedis, type PrivateRedis } from './fixtures/redis-server.ts';

let redis: PrivateRedis;
let client: ReturnType<typeof connectTo>;
let subscriber: ReturnType<typeof connectTo>;

function connectTo(url: string) {
  const made = createClient({ url, socket: { reconnectStrategy: 20 } });
  // Without a listener, a lost connection ends the process.
  made.on('error', () => undefined);
  return made;
}

beforeEach(async (ctx) => {
  if (noRedis !== undefined) return ctx.skip(noRedis);
  redis = await startRedis();
  [client, subscriber] = [connectTo(redis.url), connectTo(redis.url)];
  await Promise.all([client.connect(), subscriber.connect()]);
});
afterEach(async () => {
  client?.destroy();
  subscriber?.destroy();
  await redis?.stop();
});

const policy = cachePolicy({ ttlMs: 3_600_000, tags: ['t'] });

async function withPair(
  options: SequencedBusOptions & { readonly listens?: boolean },
  work: (one: Cache, other: Cache) => Promise<void>,
): Promise<void> {
  const { listens = true, ...rest } = options;
  const bus = redisBus({ client, ...(listens ? { subscriber } : {}), ...rest });
  const [one, other] = [createCache({ name: 'bus', bus }), createCache({ name: 'bus', bus })];
  await Promise.all([one.start(), other.start()]);
  try {
    await work(one, other);
  } finally {
    await Promise.all([one.stop(), other.stop()]);
  }
}

describe('between two caches', () => {
  test.for([true, false])('what one invalidates the other drops, listening: %j', (listens) =>
    withPair({ listens, pollMs: listens ? 60_000 : 20, silentMs: 120_000 }, async (one, other) => {
      for (let n = 0; n < 5; n += 1) {
        for (const cache of [one, other]) await cache.get('k', policy, () => n);
        await one.invalidate({ tags: ['t'] });
        await expect.poll(() => other.peek('k'), { timeout: 10_000 }).toBeUndefined();
      }
      expect(other.state().trusted).toBe(true);
    }),
  );

  test('what it is told of needs no other question to the server', () =>
    withPair({ pollMs: 60_000, silentMs: 120_000 }, async (one, other) => {
      await other.get('k', policy, () => 1);
      await client.configResetStat();
      await one.invalidate({ tags: ['t'] });
      await expect.poll(() => other.peek('k'), { timeout: 10_000 }).toBeUndefined();
      const stats = await client.info('commandstats');
      expect([/cmdstat_publish/.test(stats), /cmdstat_xrange/.test(stats)]).toEqual([true, false]);
    }));

  test('a link that is cut just before an invalidation leaves none of 20 stale', () =>
    withPair({ pollMs: 50 }, async (one, other) => {
      let stale = 0;
      const killer = connectTo(redis.url);
      await killer.connect();
      for (let n = 0; n < 20; n += 1) {
        await expect.poll(() => other.state().trusted, { timeout: 10_000 }).toBe(true);
        await other.get('k', policy, () => n);
        await killer.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']);
        await one.invalidate({ keys: ['k'] });
        await expect
          .poll(() => other.peek('k'), { timeout: 10_000 })
          .toBeUndefined()
          .catch(() => void (stale += 1));
      }
      killer.destroy();
      expect(stale).toBe(0);
    }));

  test('a server that hangs is not trusted after a while, and trusted anew when it is back', () =>
    withPair({ pollMs: 20, silentMs: 200 }, async (one, other) => {
      await other.get('k', policy, () => 'old');
      await redis.signal('SIGSTOP');
      await expect.poll(() => other.state().trusted, { timeout: 10_000 }).toBe(false);
      expect(other.peek('k')).toBeUndefined();
      expect(await one.invalidate({ keys: ['k'] })).toBe(false);
      await redis.signal('SIGCONT');
      await expect.poll(() => other.state().trusted, { timeout: 10_000 }).toBe(true);
      expect(await other.get('k', policy, () => 'new')).toBe('new');
    }));

  test('a server that comes back empty has another life: nothing is kept over it', () =>
    withPair({ pollMs: 20, silentMs: 60_000 }, async (one, other) => {
      await one.invalidate({ keys: ['x'] });
      await other.get('k', policy, () => 'old');
      await redis.signal('SIGKILL');
      await redis.restart();
      await expect.poll(() => other.peek('k'), { timeout: 15_000 }).toBeUndefined();
      await expect.poll(() => other.state().trusted, { timeout: 15_000 }).toBe(true);
      await other.get('k', policy, () => 'new');
      await expect.poll(() => one.invalidate({ keys: ['k'] }), { timeout: 15_000 }).toBe(true);
      await expect.poll(() => other.peek('k'), { timeout: 15_000 }).toBeUndefined();
    }));

  test('who begins to listen after an invalidation loads at or past it', async () => {
    const bus = redisBus({ client, pollMs: 20 });
    const [one, other] = [createCache({ name: 'late', bus }), createCache({ name: 'late', bus })];
    await one.start();
    try {
      const at = { epoch: '1.history', lsn: 700n };
      await one.invalidate({ tags: ['t'], at });
      await one.invalidate({ tags: ['t'], at: { ...at, lsn: 90n } });
      await one.invalidate({ tags: ['t'] });
      await other.start();
      expect(await other.get('k', policy, ({ atLeast }) => atLeast)).toEqual(at);
    } finally {
      await Promise.all([one.stop(), other.stop()]);
    }
  });
});
