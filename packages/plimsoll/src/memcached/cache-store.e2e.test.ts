import { fork } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Cache } from '../cache/cache.ts';
import { createCache } from '../cache/create-cache.ts';
import type { CacheOptions } from '../cache/options.ts';
import { cachePolicy } from '../cache/policy.ts';
import type { SharedAsk, SharedFill } from '../cache/shared-store.ts';
import { sharedStoreSuite } from '../cache/store-suite.ts';
import { systemClock } from '../kernel/clock.ts';
import { memcachedCacheStore } from './cache-store.ts';
import { createMemcachedClient, type MemcachedClient } from './client.ts';
import { noMemcached, startMemcached, type PrivateMemcached } from './fixtures/memcached-server.ts';

const policy = cachePolicy({ ttlMs: 60_000, tags: ['t'], staleIfErrorMs: 60_000 });
const patient = { sharedSoftMs: 10_000, sharedHardMs: 20_000, leaseMs: 10_000 };
const quick = { sharedSoftMs: 50, sharedHardMs: 100 };
const clients: MemcachedClient[] = [];
const closing = async (): Promise<void> => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
};

let server: PrivateMemcached;
let names = 0;
const named = (): string => `e2e-${(names += 1)}`;
const clientOf = ({ port }: PrivateMemcached, timeoutMs = 20_000): MemcachedClient => {
  const client = createMemcachedClient({ port, timeoutMs });
  clients.push(client);
  return client;
};
const cacheOn = (client: MemcachedClient, name: string, options: Partial<CacheOptions> = {}): Cache =>
  createCache({ name, process: false, shared: memcachedCacheStore(client), ...patient, ...options });

/** As a process sees it. */
const tableOn = (client: MemcachedClient, name: string) =>
  memcachedCacheStore(client).open({ name, clock: systemClock, scope: {} });
const question: SharedAsk = { key: 'k', tags: ['t'], atLeast: '', keepMs: 60_000 };
const filling = (versions: readonly string[], more: Partial<SharedFill> = {}): SharedFill => ({
  key: 'k',
  tags: ['t'],
  versions,
  data: 'data',
  mark: '',
  freshMs: 60_000,
  keepMs: 60_000,
  costMs: 1,
  owner: 'nobody',
  ...more,
});
const nothing = { keys: [], tags: [], everything: false, floor: '' };

describe('one server', () => {
  beforeAll(async () => {
    if (noMemcached === undefined) server = await startMemcached();
  });
  beforeEach((ctx) => (noMemcached === undefined ? undefined : ctx.skip(noMemcached)));
  afterEach(closing);
  afterAll(async () => await server?.stop());

  describe('as every store', () => {
    test.for(sharedStoreSuite)('$name', (each) => each.run(memcachedCacheStore(clientOf(server))));
  });

  test('one of four loads; the others get what it loaded', async () => {
    const name = named();
    let calls = 0;
    const { promise, resolve } = Promise.withResolvers<string>();
    const load = (): Promise<string> => {
      calls += 1;
      return promise;
    };
    const caches = Array.from({ length: 4 }, () => cacheOn(clientOf(server), name));
    const all = caches.flatMap((cache) => Array.from({ length: 50 }, () => cache.get('k', policy, load)));
    await expect.poll(() => calls, { timeout: 10_000 }).toBe(1);
    resolve('loaded');
    expect(new Set(await Promise.all(all))).toEqual(new Set(['loaded']));
    expect(calls).toBe(1);
  });

  test('a load that another process invalidates meanwhile is kept nowhere', async () => {
    const name = named();
    const here = cacheOn(clientOf(server), name, { process: {} });
    const there = cacheOn(clientOf(server), name);
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

  test('questions, fills and invalidations from many sides at once answer nothing old', async () => {
    const caches = Array.from({ length: 4 }, () => cacheOn(clientOf(server), 'many'));
    const keys = ['a', 'b', 'c'];
    const truth = new Map(keys.map((key) => [key, 0]));
    const known = new Map(truth);
    const policyOf = cachePolicy({ ttlMs: 60_000, tags: (key) => [`z:${key}`, 'y:all', `x:${key}`] });
    let wrong = 0;
    await Promise.all(
      caches.map(async (cache, at) => {
        for (let n = 0; n < 100; n += 1) {
          const key = keys[(n * (at + 1)) % 3]!;
          if (n % 5 === at) {
            const next = truth.get(key)! + 1;
            truth.set(key, next);
            const tags = n % 2 === 0 ? [`x:${key}`, 'y:all', `z:${key}`] : [`z:${key}`];
            await cache.invalidate({ tags });
            known.set(key, Math.max(known.get(key)!, next));
          } else {
            const atLeast = known.get(key)!;
            const value = await cache.get(key, policyOf, () => truth.get(key)!);
            if (value < atLeast) wrong += 1;
          }
        }
      }),
    );
    expect(wrong).toBe(0);
    for (const cache of caches) expect(cache.state().shared).toMatchObject({ failures: 0, pending: 0 });
  });

  test('many invalidations of one tag at once are all done, each of them adding one', async () => {
    const tables = Array.from({ length: 8 }, () => tableOn(clientOf(server), 'contended'));
    const before = (await tables[0]!.read(question)).versions;
    await Promise.all(tables.map((table) => table.invalidate({ ...nothing, tags: ['t'] })));
    const after = (await tables[0]!.read(question)).versions;
    expect(BigInt(after[2]!) - BigInt(before[2]!)).toBe(8n);
  });

  test('a load of another process that takes three times its lease is the only one; when that process is killed, its lease ends', async () => {
    const [name, leaseMs] = [named(), 1_500];
    const script = new URL('./fixtures/loading-process.ts', import.meta.url);
    const dying = fork(script, [`${server.port}`, name, `${leaseMs}`], {
      execArgv: ['--conditions=plimsoll:source'],
    });
    try {
      await once(dying, 'message');
      const beganMs = performance.now();
      const alive = cacheOn(clientOf(server), name, { leaseMs });
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

  test('a hit is as many commands whatever the number of keys of its tags, and so is an invalidation', async () => {
    const cache = cacheOn(clientOf(server), named());
    const commands = async (work: () => Promise<unknown>): Promise<number> => {
      const before = await server.stats();
      await work();
      const after = await server.stats();
      const sum = (stats: Readonly<Record<string, number>>): number =>
        ['cmd_get', 'cmd_set', 'cmd_touch', 'delete_hits', 'delete_misses'].reduce(
          (total, name) => total + (stats[name] ?? 0),
          0,
        );
      return sum(after) - sum(before);
    };
    for (let n = 0; n < 500; n += 1) await cache.get(`k${n}`, policy, () => n);
    await expect.poll(() => cache.get('k499', policy, () => 'again'), { timeout: 10_000 }).toBe(499);
    // The value, its lease, and three versions.
    expect(await commands(() => cache.get('k0', policy, () => 'again'))).toBe(5);
    // A version, before and after.
    expect(await commands(() => cache.invalidate({ tags: ['t'] }))).toBe(2);
  });

  test('a value that is larger than an item may be is answered and not kept; that is no failure', async () => {
    const cache = cacheOn(clientOf(server), named());
    const large = cachePolicy({ ttlMs: 60_000, tags: ['t'], maxBytes: 10_000_000 });
    for (let n = 0; n < 5; n += 1)
      expect(await cache.get('k', large, () => 'x'.repeat(2_000_000))).toHaveLength(2_000_000);
    expect(cache.state()).toMatchObject({
      loads: 5,
      rejectedFills: 0,
      shared: { health: 'up', failures: 0 },
    });
  });

  test('clocks that differ make a value older or younger by a second at most', async () => {
    const client = clientOf(server);
    const name = named();
    const at = (skewMs: number) =>
      memcachedCacheStore(client).open({
        name,
        clock: { ...systemClock, now: () => systemClock.now() + skewMs },
        scope: {},
      });
    await at(0).fill(filling((await at(0).read(question)).versions, { freshMs: 30_000 }));
    for (const skewMs of [-86_400_000, 86_400_000]) {
      const freshForMs = (await at(skewMs).read(question)).value?.freshForMs ?? 0;
      // What the test itself takes, and a tick of the server's clock on either side.
      expect(freshForMs).toBeGreaterThan(20_000);
      expect(freshForMs).toBeLessThanOrEqual(30_000);
    }
  });

  test('a time of more than 30 days is one of 30 days, and no date', async () => {
    const table = tableOn(clientOf(server), named());
    const yearMs = 365 * 86_400_000;
    const ask = { ...question, keepMs: yearMs };
    const { versions } = await table.read(ask);
    expect(await table.fill(filling(versions, { freshMs: yearMs, keepMs: yearMs }))).toBe(true);
    expect(await table.read(ask)).toMatchObject({ versions, value: { data: 'data' } });
  });
});

describe('a fill that is slower than', () => {
  let own: PrivateMemcached;
  beforeEach(async (ctx) => {
    if (noMemcached !== undefined) return ctx.skip(noMemcached);
    own = await startMemcached();
    return undefined;
  });
  afterEach(async () => {
    await closing();
    await own?.stop();
  });

  test('the loss of a version and an invalidation is refused, and what was kept before is gone', async () => {
    const client = clientOf(own);
    const table = tableOn(client, 'lost');
    const { versions } = await table.read(question);
    expect(await table.fill(filling(versions))).toBe(true);
    // As an eviction would.
    const lose = async (item: string): Promise<void> => {
      const connection = await (client as unknown as { connection(): Promise<Sender> }).connection();
      expect((await connection.send([{ line: `md plimsoll:cache:lost:${item}` }]))[0]?.code).toBe('HD');
    };
    await lose('tt');
    await table.invalidate({ ...nothing, tags: ['t'] });
    expect(await table.fill(filling(versions))).toBe(false);
    const after = await table.read(question);
    expect(after.value).toBeUndefined();
    expect(after.versions[2]).not.toBe(versions[2]);
    expect(await table.fill(filling(versions))).toBe(false);
    expect(await table.fill(filling(after.versions))).toBe(true);
  });

  test('a restart of the server is refused', async () => {
    const table = tableOn(clientOf(own), 'restarted');
    const { versions } = await table.read(question);
    await own.signal('SIGKILL');
    await own.restart();
    await expect
      .poll(() => table.read(question).then(({ value }) => value ?? 'none', String), { timeout: 15_000 })
      .toBe('none');
    expect(await table.fill(filling(versions))).toBe(false);
  });
});

interface Sender {
  send(commands: readonly { readonly line: string }[]): Promise<readonly { readonly code: string }[]>;
}

describe('a server that is away or full', () => {
  let own: PrivateMemcached;
  const start = async (more: readonly string[] = []): Promise<void> => {
    own = await startMemcached(more);
  };
  beforeEach((ctx) => (noMemcached === undefined ? undefined : ctx.skip(noMemcached)));
  afterEach(async () => {
    await closing();
    await own?.stop();
  });
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
    await start();
    const cache = cacheOn(clientOf(own, 500), 'hanging', quick);
    const witness = cacheOn(clientOf(own), 'hanging', patient);
    expect(await witness.get('k', policy, () => 'old')).toBe('old');
    await expect.poll(() => cache.get('k', policy, () => 'other'), { timeout: 10_000 }).toBe('old');
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
    await start();
    const cache = cacheOn(clientOf(own, 500), 'killed', quick);
    await cache.get('k', policy, () => 'old');
    await own.signal('SIGKILL');
    for (let n = 0; n < 50; n += 1) expect(await cache.get(`k${n}`, policy, () => n)).toBe(n);
    await cache.invalidate({ keys: ['k'] });
    await own.restart();
    await isUp(cache);
    await expect.poll(() => cache.state().shared?.pending, { timeout: 15_000 }).toBe(0);
    await expect.poll(() => cache.get('k', policy, () => 'new'), { timeout: 15_000 }).toBe('new');
    await expect.poll(() => cache.get('k', policy, () => 'other'), { timeout: 15_000 }).toBe('new');
  });

  test('evicting: nothing old is answered, and what is used stays', async () => {
    await start(['-m', '2']);
    const cache = cacheOn(clientOf(own), 'evicting');
    const truth = new Map<string, number>();
    const policyOf = cachePolicy({ ttlMs: 60_000, tags: (key) => [`of:${key}`, 'all'] });
    const ask = (key: string): Promise<[number, string]> =>
      cache.get(key, policyOf, () => [truth.get(key) ?? 0, 'x'.repeat(2_000)] as [number, string]);
    let wrong = 0;
    for (let n = 0; n < 5_000; n += 1) {
      const key = `k${(n * 7919) % 2_500}`;
      if (n % 4 === 0) {
        truth.set(key, n);
        await cache.invalidate({ tags: [`of:${key}`] });
      }
      if ((await ask(key))[0] !== (truth.get(key) ?? 0)) wrong += 1;
    }
    const { evictions } = await own.stats();
    expect(evictions).toBeGreaterThan(1_000);
    expect(wrong).toBe(0);
    // That `all` is still there is why anything of it is.
    const { loads } = cache.state();
    const recent = Array.from({ length: 20 }, (_, back) => `k${((4_999 - back) * 7919) % 2_500}`);
    for (const key of recent) await ask(key);
    expect(cache.state().loads - loads).toBeLessThan(20);
  });

  test('full, and evicting nothing: requests are answered, and an invalidation is done all the same', async () => {
    await start(['-m', '2', '-M']);
    const client = clientOf(own);
    const cache = cacheOn(client, 'full');
    await cache.get('k', policy, () => 'old');
    await expect.poll(() => cache.get('k', policy, () => 'x'), { timeout: 10_000 }).toBe('old');
    let isFull = false;
    const filler = tableOn(client, 'filler');
    for (let n = 0; n < 50_000 && !isFull; n += 1) {
      const key = `k${n}`;
      isFull = await filler
        .read({ ...question, key })
        .then(({ versions }) => filler.fill(filling(versions, { key, data: 'x'.repeat(100) })))
        .then(
          () => false,
          (error: unknown) => String(error).includes('out of memory'),
        );
    }
    expect(isFull).toBe(true);
    expect(await cache.get('another', policy, () => 'loaded')).toBe('loaded');
    await cache.invalidate({ tags: ['t'], at: { epoch: '1.a', lsn: 9n } });
    expect(cache.state().shared?.pending).toBe(0);
    expect(await cacheOn(client, 'full').get('k', policy, () => 'new')).toBe('new');
  });
});
