import { describe, expect, test } from 'vitest';
import type { Cache } from './cache.ts';
import { createCache } from './create-cache.ts';
import { gate, HandClock, settled } from './fixtures/hand-clock.ts';
import { memorySharedStore } from './memory-shared-store.ts';
import type { CacheOptions } from './options.ts';
import { cachePolicy, type CachePolicyOptions } from './policy.ts';

/** As two processes would: each has an engine of its own, and they share a store. */
function setUp(options: Partial<CacheOptions> = {}): { one: Cache; other: Cache; clock: HandClock } {
  const clock = new HandClock();
  const shared = memorySharedStore();
  const open = (): Cache =>
    createCache({ name: 'two', clock, random: () => 0, shared, process: false, ...options });
  return { one: open(), other: open(), clock };
}

const policyOf = (options: Partial<CachePolicyOptions> = {}) =>
  cachePolicy({ ttlMs: 1_000, tags: ['t'], ...options });

/** In steps that are shorter than any wait, as time does. */
async function pass(clock: HandClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 20) await clock.advance(20);
}

describe('a load that takes longer than its lease', () => {
  test('is the only one: the others wait for what it brings', async () => {
    const { one, other, clock } = setUp({ leaseMs: 100 });
    const { load, waiting } = gate<string>();
    let calls = 0;
    const first = one.get('k', policyOf(), load);
    await settled();
    const second = other.get('k', policyOf(), () => `other ${(calls += 1)}`);
    await pass(clock, 340);
    expect([waiting.length, calls]).toEqual([1, 0]);
    waiting[0]!.resolve('loaded');
    await pass(clock, 200);
    expect([await first, await second, calls]).toEqual(['loaded', 'loaded', 0]);
  });

  test('one that is given up keeps the right to load for its lease at most', async () => {
    const { one, other, clock } = setUp({ leaseMs: 100 });
    const never = gate<string>();
    const first = one.get('k', policyOf({ hardTimeoutMs: 300, abandonMs: 300 }), never.load);
    void first.catch(() => undefined);
    await settled();
    const second = other.get('k', policyOf(), () => 'loaded');
    await pass(clock, 280);
    expect(other.state().loads).toBe(0);
    await pass(clock, 400);
    expect(await second).toBe('loaded');
    await expect(first).rejects.toMatchObject({ code: 'PL_TIMEOUT' });
  });

  test('who waits for it gives up as if he were loading himself', async () => {
    const { one, other, clock } = setUp({ leaseMs: 100 });
    const never = gate<string>();
    void one.get('k', policyOf(), never.load).catch(() => undefined);
    await settled();
    let calls = 0;
    const waits = policyOf({ hardTimeoutMs: 300, abandonMs: 300 });
    const second = other.get('k', waits, () => `${(calls += 1)}`);
    void second.catch(() => undefined);
    await pass(clock, 600);
    await expect(second).rejects.toMatchObject({ code: 'PL_TIMEOUT' });
    expect([calls, other.state().abandoned, other.state().flights]).toEqual([0, 1, 0]);
  });

  test('an invalidation ends it for those who come afterwards', async () => {
    const { one, other, clock } = setUp({ leaseMs: 100 });
    const slow = gate<string>();
    const first = one.get('k', policyOf(), slow.load);
    await pass(clock, 200);
    await other.invalidate({ tags: ['t'] });
    expect(await other.get('k', policyOf(), () => 'new')).toBe('new');
    slow.waiting[0]!.resolve('old');
    expect(await first).toBe('old');
    expect(await one.get('k', policyOf(), () => 'newer')).toBe('new');
  });
});

describe('a load that fails', () => {
  test('those who wait in other processes hear of it, and none of them tries before its time', async () => {
    const { one, other, clock } = setUp();
    const policy = policyOf({ failureMs: 400 });
    const { load, waiting } = gate<string>();
    let calls = 0;
    const first = one.get('k', policy, load);
    await settled();
    const elsewhere = (): Promise<string> => other.get('k', policy, () => `other ${(calls += 1)}`);
    const second = elsewhere();
    void second.catch(() => undefined);
    waiting[0]!.reject(new Error('down'));
    await expect(first).rejects.toThrow('down');
    await pass(clock, 40);
    await expect(second).rejects.toMatchObject({ code: 'PL_CACHE_LOAD_FAILED', retryable: true });
    // Half of the time is random, and here it is the least.
    await pass(clock, 140);
    await expect(elsewhere()).rejects.toMatchObject({ code: 'PL_CACHE_LOAD_FAILED' });
    expect([calls, other.state().loads, other.state().loadFailures]).toEqual([0, 0, 0]);
    await pass(clock, 20);
    expect(await elsewhere()).toBe('other 1');
  });

  test('many processes that keep asking try once for each time it is not tried again', async () => {
    const clock = new HandClock();
    const shared = memorySharedStore();
    const caches = Array.from({ length: 8 }, () =>
      createCache({ name: 'many', clock, shared, process: false, random: () => 0.5 }),
    );
    const policy = policyOf({ failureMs: 400 });
    let calls = 0;
    const ask = (cache: Cache): Promise<unknown> =>
      cache
        .get('k', policy, () => {
          calls += 1;
          throw new Error('down');
        })
        .catch((error: unknown) => error);
    for (let passed = 0; passed < 3_000; passed += 60) {
      const asked = caches.map(ask);
      await pass(clock, 60);
      for (const answer of await Promise.all(asked)) expect(answer).toBeInstanceOf(Error);
    }
    // A failure is remembered for 300 ms.
    expect(calls).toBeGreaterThanOrEqual(8);
    expect(calls).toBeLessThanOrEqual(10);
  });

  test('a stale value of the shared tier is answered instead, in every process', async () => {
    const { one, other, clock } = setUp();
    const policy = policyOf({ ttlMs: 100, staleIfErrorMs: 60_000, failureMs: 400, jitter: 0 });
    await one.get('k', policy, () => 'stale');
    await pass(clock, 120);
    let calls = 0;
    const fail = (): never => {
      calls += 1;
      throw new Error('down');
    };
    expect(await one.get('k', policy, fail)).toBe('stale');
    await settled();
    expect(await other.get('k', policy, fail)).toBe('stale');
    expect(calls).toBe(1);
  });

  test('what is invalidated is tried again at once', async () => {
    const { one, other } = setUp();
    const policy = policyOf();
    const fail = (): never => {
      throw new Error('down');
    };
    await expect(one.get('k', policy, fail)).rejects.toThrow('down');
    await settled();
    await one.invalidate({ tags: ['t'] });
    expect(await other.get('k', policy, () => 'loaded')).toBe('loaded');
  });
});
