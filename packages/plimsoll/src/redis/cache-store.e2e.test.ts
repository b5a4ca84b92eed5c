import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createClient } from 'redis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, type TestContext } from 'vitest';
import type { Cache } from '../cache/cache.ts';
import { createCache } from '../cache/create-cache.ts';
import type { CacheOptions } from '../cache/options.ts';
import { cachePolicy } from '../cache/policy.ts';
import { sharedStoreSuite } from '../cache/store-suite.ts';
import { redisCacheStore } from './cache-store.ts';
import { noRedis, startRedis, type PrivateRedis } from './fixtures/redis-server.ts';

const given = process.env['REDIS_URL'];
let redis: PrivateRedis | undefined;
let client: ReturnType<typeof connectTo>;

function connectTo(url: string) {
  const made = createClient({ url, socket: { reconnectStrategy: 20 } });
  // Without a listener, a lost connection ends the process.
  made.on('error', () => undefined);
  return made;
}

beforeAll(async () => {
  if (noRedis === undefined) redis = await startRedis();
  const url = redis?.url ?? given;
  if (url === undefined) return;
  client = connectTo(url);
  await client.connect();
});
afterAll(async () => {
  client?.destroy();
  await redis?.stop();
});

/** Skips, with the reason, where there is no server. */
function needsRedis(ctx: TestContext): void {
  if (client === undefined) ctx.skip(`${noRedis} and no REDIS_URL`);
}

const policy = cachePolicy({ ttlMs: 60_000, tags: ['t'], staleIfErrorMs: 60_000 });
const patient = { sharedSoftMs: 10_000, sharedHardMs: 20_000, leaseMs: 10_000 };
let names = 0;
const named = (): string => `e2e-${process.pid}-${(names += 1)}`;
const cacheOn = (on: typeof client, name: string, options: Partial<CacheOptions> = {}): Cache =>
  createCache({ name, process: false, shared: redisCacheStore(on), ...patient, ...options });

describe('as every store', () => {
  test.for(sharedStoreSuite)('$name', (each, ctx) => {
    needsRedis(ctx);
    return each.run(redisCacheStore(client));
  });
});

describe('between processes', () => {
  let other: typeof client;
  beforeEach(async (ctx) => {
    needsRedis(ctx);
    other = connectTo(redis?.url ?? given ?? '');
    await other.connect();
  });
  afterEach(() => other?.destroy());

  test('one of four loads; the others get what it loaded', async () => {
    const name = named();
    let calls = 0;
    const { promise, resolve } = Promise.withResolvers<string>();
    const load = (): Promise<string> => {
      calls += 1;
      return promise;
    };
    const caches = [client, other, client, other].map((each) => cacheOn(each, name));
    const all = caches.flatMap((cache) => Array.from({ length: 50 }, () => cache.get('k', policy, load)));
    await expect.poll(() => calls, { timeout: 10_000 }).toBe(1);
    resolve('loaded');
    expect(new Set(await Promise.all(all))).toEqual(new Set(['loaded']));
    expect(calls).toBe(1);
  });

  test('a load that another process invalidates meanwhile is kept nowhere', async () => {
    const name = named();
    const [here, there] = [cacheOn(client, name, { process: {} }), cacheOn(other, name)];
    for (const what of [{ tags: ['t'] }, { keys: ['k'] }]) {
      const { promise, resolve } = Promise.withResolvers<string>();
      let begun = false;
      const slow = here.get('k', policy, () => {
        begun = true;
        return promise;
      });
      await expect.poll(() => begun, { timeout: 10_000 }).toBe(true);
      await there.invalidate(what);
      resolve('old');
      expect(await slow).toBe('old');
      await expect.poll(() => here.peek('k'), { timeout: 10_000 }).toBeUndefined();
      expect(await there.get('k', policy, () => 'new')).toBe('new');
      expect(await here.get('k', policy, () => 'newer')).toBe('new');
      await here.clear();
    }
    expect(here.state().rejectedFills).toBe(2);
  });

  test('what one writes, the other reads without loading', async () => {
    const name = named();
    const [here, there] = [cacheOn(client, name), cacheOn(other, name)];
    await there.get('k', policy, () => 'old');
    await here.write('k', policy, async () => 'new');
    await expect.poll(() => there.get('k', policy, () => 'loaded'), { timeout: 10_000 }).not.toBe('old');
    expect(await there.get('k', policy, () => 'other')).toBe('new');
    expect(there.state().loads).toBe(1);
  });

  test('a load of another process that takes three times its lease is the only one; when that process is killed, its lease ends', async () => {
    const [name, leaseMs] = [named(), 1_500];
    const url = redis?.url ?? given ?? '';
    const dying = fork(new URL('./fixtures/loading-process.ts', import.meta.url), [url, name, `${leaseMs}`], {
      execArgv: ['--conditions=plimsoll:source'],
    });
    try {
      await once(dying, 'message');
      const beganMs = performance.now();
      const alive = cacheOn(other, name, { leaseMs });
      const patience = cachePolicy({ ttlMs: 60_000, tags: ['t'], hardTimeoutMs: 50_000 });
      const answer = alive.get('k', patience, () => 'loaded');
      await expect
        .poll(() => performance.now() - beganMs, { timeout: 20_000 })
        .toBeGreaterThan(3.2 * leaseMs);
      expect(alive.state()).toMatchObject({ loads: 0, flights: 1 });
      dying.kill('SIGKILL');
      expect(await answer).toBe('loaded');
    } finally {
      dying.kill('SIGKILL');
    }
  });

  test('a load that fails is not tried by the others who wait for it', async () => {
    const name = named();
    const caches = [client, other, client, other].map((each) => cacheOn(each, name));
    const { promise, reject } = Promise.withResolvers<string>();
    const policyOf = cachePolicy({ ttlMs: 60_000, tags: ['t'], failureMs: 30_000 });
    let calls = 0;
    const all = caches.map((cache) =>
      cache
        .get('k', policyOf, () => {
          calls += 1;
          return promise;
        })
        .catch((error: unknown) => String(error)),
    );
    await expect.poll(() => calls, { timeout: 10_000 }).toBe(1);
    reject(new Error('down'));
    const answers = await Promise.all(all);
    expect(answers.filter((answer) => answer === 'Error: down')).toHaveLength(1);
    expect(answers.filter((answer) => answer.includes('another process could not load'))).toHaveLength(3);
    expect(calls).toBe(1);
  });
});

describe('what is in Redis', () => {
  beforeEach((ctx) => needsRedis(ctx));

  test('every key expires', async () => {
    const name = named();
    const cache = cacheOn(client, name);
    await cache.get('k', policy, () => 1);
    await cache.invalidate({ tags: ['t', 'never seen'], keys: ['j'], at: { epoch: '1.a', lsn: 9n } });
    await cache.get('j', policy, () => 1);
    const keys = await client.keys(`plimsoll:cache:{${name}*`);
    expect(keys.length).toBeGreaterThanOrEqual(5);
    for (const key of keys) expect(await client.pTTL(key), key).toBeGreaterThan(0);
  });

  test('a question is one command, and so is an invalidation of a tag with any number of keys', async () => {
    const cache = cacheOn(client, named());
    for (let n = 0; n < 50; n += 1) await cache.get(`k${n}`, policy, () => n);
    const calls = async (): Promise<number> => {
      const stats = await client.info('commandstats');
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0);
    };
    const before = await calls();
    await cache.get('k0', policy, () => 'again');
    // One more now and then, which looks whether the server is another one.
    expect((await calls()) - before).toBeLessThanOrEqual(2);
    const between = await calls();
    await cache.invalidate({ tags: ['t'] });
    expect((await calls()) - between).toBe(1);
  });
});

describe('a server that is away', () => {
  let own: PrivateRedis;
  let through: typeof client;

  beforeEach(async (ctx) => {
    if (noRedis !== undefined) return ctx.skip(noRedis);
    own = await startRedis();
    through = connectTo(own.url);
    await through.connect();
  });
  afterEach(async () => {
    through?.destroy();
    await own?.stop();
  });

  const quick = { sharedSoftMs: 50, sharedHardMs: 100 };
  const isUp = (cache: Cache): Promise<void> =>
    expect
      .poll(
        async () => {
          await cache.get(`${Math.random()}`, policy, () => 1);
          return cache.state().shared?.health;
        },
        { timeout: 15_000 },
      )
      .toBe('up');

  test('hanging: every request is answered, later ones without asking it; an invalidation is told when it is back', async () => {
    const cache = cacheOn(through, 'hanging', quick);
    const witness = cacheOn(through, 'hanging', patient);
    expect(await cache.get('k', policy, () => 'old')).toBe('old');
    await expect.poll(() => witness.get('k', policy, () => 'other'), { timeout: 10_000 }).toBe('old');
    await own.signal('SIGSTOP');
    const asked = Array.from({ length: 200 }, (_, n) =>
      cache.get(`k${n % 20}`, policy, () => `loaded ${n % 20}`),
    );
    expect(new Set(await Promise.all(asked)).size).toBe(20);
    await expect.poll(() => cache.state().shared?.health, { timeout: 10_000 }).toBe('down');
    await cache.invalidate({ tags: ['t'] });
    expect(cache.state().shared?.pending).toBe(1);
    expect(await cache.get('k', policy, () => 'new')).toBe('new');
    await own.signal('SIGCONT');
    await expect.poll(() => cache.state().shared?.pending, { timeout: 15_000 }).toBe(0);
    expect(await witness.get('k', policy, () => 'new')).toBe('new');
    await isUp(cache);
  });

  test('killed and back, empty: every request is answered, and what it holds afterwards is new', async () => {
    const cache = cacheOn(through, 'killed', quick);
    await cache.get('k', policy, () => 'old');
    await own.signal('SIGKILL');
    await expect.poll(() => through.isReady, { timeout: 10_000 }).toBe(false);
    for (let n = 0; n < 50; n += 1) expect(await cache.get(`k${n}`, policy, () => n)).toBe(n);
    await cache.invalidate({ keys: ['k'] });
    await own.restart();
    await isUp(cache);
    await expect.poll(() => cache.state().shared?.pending, { timeout: 15_000 }).toBe(0);
    expect(await cache.get('k', policy, () => 'new')).toBe('new');
    expect(await cache.get('k', policy, () => 'other')).toBe('new');
  });

  test('a failover to a replica that has missed an invalidation: nothing from before it is answered', async () => {
    const replica = await startRedis();
    const later = connectTo(replica.url);
    await later.connect();
    try {
      await through.configSet('repl-diskless-sync-delay', '0');
      // Else it leaves a file where the tests run.
      await later.configSet('repl-diskless-load', 'swapdb');
      const before = cacheOn(through, 'failover');
      expect(await before.get('k', policy, () => 'old')).toBe('old');
      await expect.poll(() => before.get('k', policy, () => 'x'), { timeout: 10_000 }).toBe('old');
      await later.sendCommand(['REPLICAOF', '127.0.0.1', String(own.port)]);
      await expect
        .poll(async () => (await later.keys('plimsoll:cache:{failover*')).length, { timeout: 20_000 })
        .toBeGreaterThanOrEqual(3);
      await later.sendCommand(['REPLICAOF', 'NO', 'ONE']);
      await before.invalidate({ tags: ['t'] });
      const after = cacheOn(later, 'failover');
      expect(await after.get('k', policy, () => 'new')).toBe('new');
      expect(await after.get('k', policy, () => 'newer')).toBe('new');
    } finally {
      later.destroy();
      await replica.stop();
    }
  });

  test('full: requests are answered, and an invalidation is done all the same', async () => {
    const cache = cacheOn(through, 'full');
    for (let n = 0; n < 20; n += 1) await cache.get(`k${n}`, policy, () => `old ${n}`.repeat(100));
    await expect.poll(() => cache.get('k0', policy, () => 'x'), { timeout: 10_000 }).toMatch(/^old 0/);
    await through.configSet('maxmemory', '1mb');
    const filler = through.set('filler', 'x'.repeat(2_000_000)).catch((error: unknown) => String(error));
    expect(await filler).toMatch(/OOM/);
    expect(await cache.get('another', policy, () => 'loaded')).toBe('loaded');
    await cache.invalidate({ tags: ['t'] });
    expect(cache.state().shared?.pending).toBe(0);
    await through.configSet('maxmemory', '0');
    const fresh = cacheOn(through, 'full');
    for (let n = 0; n < 20; n += 1) expect(await fresh.get(`k${n}`, policy, () => 'new')).toBe('new');
  });

  test('a server that has lost its scripts gets them again', async () => {
    const cache = cacheOn(through, 'flushed');
    await cache.get('k', policy, () => 'kept');
    await through.scriptFlush();
    await expect.poll(() => cache.get('k', policy, () => 'again'), { timeout: 10_000 }).toBe('kept');
    await through.scriptFlush();
    await cache.invalidate({ keys: ['k'] });
    expect(await cache.get('k', policy, () => 'new')).toBe('new');
    expect(cache.state().shared?.failures).toBe(0);
  });
});
