import { expect, test } from 'vitest';
// #region usage
import { createClient } from 'redis';
import { byClientIp, createRateLimit, type ClientRequest, type RateLimit } from 'plimsoll/rate-limit';
import { redisRateLimitStore } from 'plimsoll/redis';

async function sharedLimit(url: string): Promise<{ limit: RateLimit<ClientRequest>; close: () => void }> {
  const redis = createClient({ url });
  redis.on('error', () => undefined); // without a listener, a lost connection ends the process
  await redis.connect();
  const limit = createRateLimit<ClientRequest>({
    name: 'api',
    rules: [{ kind: 'rate', name: 'client', limit: 100, perMs: 60_000, key: byClientIp() }],
    store: redisRateLimitStore(redis),
    // While Redis is away, each of 4 processes keeps to a quarter of the limit.
    whenStoreFails: { instances: 4 },
  });
  return { limit, close: () => redis.destroy() };
}
// #endregion
// #region cache
import { cachePolicy, createCache, type Cache } from 'plimsoll/cache';
import { redisCacheStore } from 'plimsoll/redis';

async function sharedCache(url: string): Promise<{ cache: Cache; close: () => void }> {
  const redis = createClient({ url });
  redis.on('error', () => undefined);
  await redis.connect();
  // Nothing in the process: what another one invalidates is seen at once.
  const cache = createCache({ name: 'shop', process: false, shared: redisCacheStore(redis) });
  return { cache, close: () => redis.destroy() };
}
const products = cachePolicy({ ttlMs: 60_000, tags: ['products'] });
// #endregion
import { noRedis, startRedis } from './fixtures/redis-server.ts';

test('a limit that processes share', async (ctx) => {
  if (noRedis !== undefined) return ctx.skip(noRedis);
  const server = await startRedis();
  const { limit, close } = await sharedLimit(server.url);
  try {
    const request: ClientRequest = { headers: {}, ip: '203.0.113.9' };
    await expect
      .poll(() => limit.take(request), { timeout: 10_000 })
      .toMatchObject({ allowed: true, degraded: undefined });
  } finally {
    close();
    await server.stop();
  }
  return undefined;
});

test('values that processes share', async (ctx) => {
  if (noRedis !== undefined) return ctx.skip(noRedis);
  const server = await startRedis();
  const opened = await Promise.all([sharedCache(server.url), sharedCache(server.url)]);
  const [one, other] = opened.map(({ cache }) => cache);
  try {
    await one!.get('7', products, () => 'Lantern');
    await expect.poll(() => other!.get('7', products, () => undefined), { timeout: 10_000 }).toBe('Lantern');
    await other!.invalidate({ tags: ['products'] });
    expect(await one!.get('7', products, () => 'Lamp')).toBe('Lamp');
  } finally {
    for (const { close } of opened) close();
    await server.stop();
  }
  return undefined;
});
