import { expect, test } from 'vitest';
// #region usage
import { cachePolicy, createCache, type Cache } from 'plimsoll/cache';
import { createMemcachedClient, memcachedCacheStore } from 'plimsoll/memcached';

function sharedCache(host: string, port: number): { cache: Cache; close: () => Promise<void> } {
  const client = createMemcachedClient({ host, port });
  // Nothing in the process: what another one invalidates is seen at once.
  const cache = createCache({ name: 'shop', process: false, shared: memcachedCacheStore(client) });
  return { cache, close: () => client.close() };
}
const products = cachePolicy({ ttlMs: 60_000, tags: ['products'] });
// #endregion
import { noMemcached, startMemcached } from './fixtures/memcached-server.ts';

test('values that processes share', async (ctx) => {
  if (noMemcached !== undefined) return ctx.skip(noMemcached);
  const server = await startMemcached();
  const opened = [sharedCache('127.0.0.1', server.port), sharedCache('127.0.0.1', server.port)];
  const [one, other] = opened.map(({ cache }) => cache);
  try {
    await expect
      .poll(() => one!.get('7', products, () => 'Lantern').then(() => one!.state().sharedHits), {
        timeout: 10_000,
      })
      .toBeGreaterThan(0);
    await expect.poll(() => other!.get('7', products, () => 'loaded'), { timeout: 10_000 }).toBe('Lantern');
    await other!.invalidate({ tags: ['products'] });
    expect(await one!.get('7', products, () => 'Lamp')).toBe('Lamp');
  } finally {
    for (const { close } of opened) await close();
    await server.stop();
  }
  return undefined;
});
