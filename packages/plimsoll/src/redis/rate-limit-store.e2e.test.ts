import { createClient } from 'redis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, type TestContext } from 'vitest';
import { createRateLimit, type RateLimit, type RateLimitOptions } from '../rate-limit/rate-limit.ts';
import type { StoreFailure } from '../rate-limit/shared-counters.ts';
import { sharedStoreSuite, storeSuite } from '../rate-limit/store-suite.ts';
import type { IoRedisLike } from './client.ts';
import { noRedis, startRedis, type PrivateRedis } from './fixtures/redis-server.ts';
import { monthEnd } from './rate-limit-script.ts';
import { redisRateLimitStore } from './rate-limit-store.ts';

const given = process.env['REDIS_URL'];
let redis: PrivateRedis | undefined;
let client: ReturnType<typeof connectTo>;

function connectTo(url: string) {
  const made = createClient({ url, socket: { reconnectStrategy: 20 } });
  // Without a listener, a lost connection ends the process.
  made.on('error', () => undefined);
  return made;
}

/** The same connection by the names that ioredis has for its commands. */
const asIoRedis: IoRedisLike = {
  get status() {
    return client.isReady ? 'ready' : 'reconnecting';
  },
  evalsha: (sha, keys, ...rest) =>
    client.evalSha(sha, { keys: rest.slice(0, keys), arguments: rest.slice(keys) }),
  eval: (script, keys, ...rest) =>
    client.eval(script, { keys: rest.slice(0, keys), arguments: rest.slice(keys) }),
  unlink: (...keys) => client.unlink(keys),
};

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

describe('as every store', () => {
  test.for([...storeSuite, ...sharedStoreSuite])('$name', (each, ctx) => {
    needsRedis(ctx);
    return each.run(redisRateLimitStore(client));
  });
});

describe('as every store, by the commands of ioredis', () => {
  test.for(storeSuite)('$name', (each, ctx) => {
    needsRedis(ctx);
    return each.run(redisRateLimitStore(asIoRedis));
  });
});

describe('what is in Redis', () => {
  beforeEach((ctx) => needsRedis(ctx));
  const prefix = 'test-keys';
  const keysOf = (pattern: string): Promise<string[]> => client.keys(`${prefix}:${pattern}`);
  const options = (name: string, rules: RateLimitOptions<string>['rules']): RateLimitOptions<string> => ({
    name,
    rules,
    store: redisRateLimitStore(client, { prefix }),
    whenStoreFails: 'closed',
    storeTimeoutMs: 5_000,
  });

  test('every key expires when it holds nothing any more, also of a rate below a second', async () => {
    const limit = createRateLimit(
      options('ttl', [
        { kind: 'rate', name: 'half', limit: 5, perMs: 500, key: (key) => key },
        { kind: 'rate', name: 'fast', limit: 1_000, perMs: 1, key: (key) => key },
        { kind: 'quota', name: 'month', limit: 1e12, per: 'month', key: (key) => key },
      ]),
    );
    for (let n = 0; n < 8; n += 1) await limit.take('k');
    const keys = await keysOf('{ttl}:*');
    expect(keys.some((key) => key.includes(':half:'))).toBe(true);
    for (const key of keys) {
      const ttlMs = await client.pTTL(key);
      // -1 would be a key that never expires; -2 is one that has meanwhile.
      expect(ttlMs, key).not.toBe(-1);
      if (key.includes(':half:')) expect(ttlMs).toBeLessThanOrEqual(500);
    }
    await expect.poll(() => keysOf('{ttl}:half:*'), { timeout: 10_000 }).toEqual([]);
    await expect.poll(async () => (await limit.take('k')).allowed, { timeout: 10_000 }).toBe(true);
  });

  test('keys of a limit with several rules have one hash tag, those of one rule have none', async () => {
    const rule = { kind: 'quota', limit: 5, per: 'hour', key: (key: string) => key } as const;
    await createRateLimit(
      options('many', [
        { ...rule, name: 'a' },
        { ...rule, name: 'b' },
      ]),
    ).take('{k}');
    await createRateLimit(options('one', [{ ...rule, name: 'a' }])).take('k');
    const tags = (await keysOf('*many*')).map((key) => /\{(.*?)\}/.exec(key)?.[1]);
    expect(tags).toEqual(['many', 'many']);
    expect(await keysOf('one:*')).toEqual([`${prefix}:one:a:hour:k`]);
  });

  test('a month ends when the calendar says, in leap years and at the turn of a year too', async () => {
    const script = `${monthEnd} return string.format('%.0f', month_end(tonumber(ARGV[1])))`;
    const since = Date.UTC(2025, 0, 1);
    for (let month = 0; month < 12 * 30; month += 5) {
      const [begins, ends] = [Date.UTC(2025, month, 1) - since, Date.UTC(2025, month + 1, 1) - since];
      for (const now of [begins, ends - 1])
        expect(await client.eval(script, { arguments: [String(now)] }), `month ${month}`).toBe(String(ends));
    }
  });

  test('a server that has lost its scripts gets them again', async () => {
    const limit = createRateLimit(
      options('flushed', [{ kind: 'rate', name: 'a', limit: 2, perMs: 3_600_000, key: (key) => key }]),
    );
    expect((await limit.take('k')).allowed).toBe(true);
    await client.scriptFlush();
    expect((await limit.take('k')).allowed).toBe(true);
    await client.scriptFlush();
    expect(await limit.take('k')).toMatchObject({ allowed: false, degraded: undefined });
  });

  test('a call is one command, whatever the number of its rules; a denied client costs none for a while', async () => {
    const limit = createRateLimit(
      options('trips', [
        { kind: 'rate', name: 'a', limit: 3, perMs: 3_600_000, key: (key) => key },
        { kind: 'quota', name: 'b', limit: 100, per: 'month', key: (key) => key },
      ]),
    );
    await limit.take('warm');
    const calls = async (): Promise<number> => {
      const stats = await client.info('commandstats');
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0);
    };
    const before = await calls();
    for (let n = 0; n < 3; n += 1) expect((await limit.take('k')).allowed).toBe(true);
    expect((await calls()) - before).toBe(3);
    for (let n = 0; n < 50; n += 1)
      expect(await limit.take('k')).toMatchObject({ allowed: false, rule: 'a' });
    const asked = (await calls()) - before - 3;
    expect(asked).toBeGreaterThanOrEqual(1);
    expect(asked).toBeLessThanOrEqual(5);
    await limit.reset('k');
    expect((await limit.take('k')).allowed).toBe(true);
  });
});

test('two clients share a limit, and 64 callers of each do not exceed it', async (ctx) => {
  needsRedis(ctx);
  const other = connectTo(redis?.url ?? given ?? '');
  await other.connect();
  try {
    const limits = [client, other].map((each) =>
      createRateLimit({
        name: 'shared',
        rules: [{ kind: 'rate', name: 'all', limit: 20, perMs: 3_600_000 }],
        store: redisRateLimitStore(each, { prefix: `shared-${process.pid}` }),
        whenStoreFails: 'closed',
        storeTimeoutMs: 10_000,
      }),
    );
    const results = await Promise.all(
      limits.flatMap((limit) => Array.from({ length: 64 }, () => limit.take())),
    );
    expect(results.filter(({ allowed }) => allowed)).toHaveLength(20);
    expect(results.every(({ degraded }) => degraded === undefined)).toBe(true);
  } finally {
    other.destroy();
  }
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

  const limitTo = (whenStoreFails: StoreFailure): RateLimit =>
    createRateLimit({
      name: 'away',
      rules: [{ kind: 'rate', name: 'all', limit: 40, perMs: 3_600_000 }],
      store: redisRateLimitStore(through),
      whenStoreFails,
      storeTimeoutMs: 30,
      // A denial by the share is not one of the store.
      denyForMs: 0,
    });
  const backIn = (limit: RateLimit): Promise<void> =>
    expect.poll(async () => (await limit.peek()).degraded, { timeout: 15_000 }).toBeUndefined();

  test.for([
    ['open', 100],
    ['closed', 0],
    // 40 points for 4 instances.
    [{ instances: 4 }, 10],
  ] as const)('killed and back: %j lets %i of 100 pass', async ([whenStoreFails, passing]) => {
    const limit = limitTo(whenStoreFails);
    await backIn(limit);
    await own.signal('SIGKILL');
    // One that is under way when the connection breaks fails with it; from then on none is sent.
    await expect.poll(() => through.isReady, { timeout: 10_000 }).toBe(false);
    const results = await Promise.all(Array.from({ length: 100 }, () => limit.take()));
    expect(results.filter(({ allowed }) => allowed)).toHaveLength(passing);
    expect(new Set(results.map(({ degraded }) => degraded))).toEqual(
      new Set([typeof whenStoreFails === 'object' ? 'local' : whenStoreFails]),
    );
    expect(limit.state()).toMatchObject({ store: 'down', degraded: 100 });
    await own.restart();
    await backIn(limit);
    expect(limit.state().store).toBe('up');
    expect(await limit.take()).toMatchObject({ allowed: true, degraded: undefined });
  });

  test('hanging: nobody waits longer than the time limit, later callers not at all, and it is found again', async () => {
    const limit = limitTo('open');
    await backIn(limit);
    await own.signal('SIGSTOP');
    const first = await Promise.all(Array.from({ length: 64 }, () => limit.take()));
    expect(first.every(({ degraded }) => degraded === 'open')).toBe(true);
    expect(limit.state().store).toBe('down');
    // Of these at most one in half a second asks; the others are answered in the same turn.
    for (let n = 0; n < 2_000; n += 1) await limit.take();
    expect(limit.state().degraded).toBe(2_064);
    await own.signal('SIGCONT');
    await backIn(limit);
    expect(limit.state().store).toBe('up');
  });
});
