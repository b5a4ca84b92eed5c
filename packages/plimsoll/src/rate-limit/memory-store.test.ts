import { describe, expect, test } from 'vitest';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { memoryStore } from './memory-store.ts';
import { createRateLimit, type RateLimit } from './rate-limit.ts';
import { storeSuite } from './store-suite.ts';
import type { Decision } from './store.ts';

describe('as every store', () => {
  test.for(storeSuite)('$name', (each) => each.run(memoryStore()));
});

const clockAt = (): Clock & { ms: number; wallMs: number } => ({
  ...systemClock,
  ms: 0,
  wallMs: Date.UTC(2026, 0, 31, 23, 59, 59),
  monotonicMs() {
    return this.ms;
  },
  now() {
    return this.wallMs;
  },
});

describe('memory is bounded', () => {
  test('a flood of keys does not evict an attacker, who stays limited, and later keys share one bucket', async () => {
    const clock = clockAt();
    const limit = createRateLimit<string>({
      name: 'login',
      rules: [{ kind: 'rate', name: 'client', limit: 10, perMs: 60_000, key: (client) => client }],
      store: memoryStore({ maxKeys: 1_000 }),
      clock,
    });
    const passed = async (client: string): Promise<boolean> => (await limit.take(client)).allowed;
    for (let n = 0; n < 10; n += 1) expect(await passed('attacker')).toBe(true);
    let flood = 0;
    for (let n = 0; n < 100_000; n += 1) if (await passed(`flood-${n}`)) flood += 1;
    expect(await passed('attacker')).toBe(false);
    // 999 with a bucket each, and the burst of the one that all others share.
    expect(flood).toBe(999 + 10);
    // Whoever was there keeps what is his.
    expect((await limit.peek('flood-0')).remaining).toBe(9);
  });

  test('an idle key makes room at the cap, and one in use never does', async () => {
    const clock = clockAt();
    const counters = memoryStore({ maxKeys: 4 }).open({
      name: 'a',
      rules: [{ kind: 'rate', name: 'a', capacity: 4, intervalMs: 100 }],
      clock,
      scope: {},
    });
    const used = (key: string): number => (counters.take([key], 0) as Decision).levels[0]!.used;
    for (const [key, cost] of [
      ['a', 4],
      ['b', 1],
      ['c', 4],
      ['d', 4],
    ] as const)
      void counters.take([key], cost);
    clock.ms = 100;
    void counters.take(['e'], 4);
    expect([used('a'), used('c'), used('d'), used('e')]).toEqual([3, 3, 3, 4]);
    void counters.take(['f'], 1);
    // No room is left, so `f` stands with all who have none.
    expect([used('a'), used('g'), used('c'), used('d')]).toEqual([3, 1, 3, 3]);
  });

  test('keys over the cap of a quota share one counter until the window ends', async () => {
    const clock = clockAt();
    const limit = createRateLimit<string>({
      name: 'orders',
      rules: [{ kind: 'quota', name: 'tenant', limit: 2, per: 'hour', key: (tenant) => tenant }],
      store: memoryStore({ maxKeys: 2 }),
      clock,
    });
    const passed = async (key: string): Promise<boolean> => (await limit.take(key)).allowed;
    expect([
      await passed('a'),
      await passed('b'),
      await passed('c'),
      await passed('d'),
      await passed('e'),
    ]).toEqual([true, true, true, true, false]);
    expect([await passed('a'), await passed('a')]).toEqual([true, false]);
    clock.wallMs += 1_000;
    expect([await passed('e'), await passed('e'), await passed('e')]).toEqual([true, true, false]);
    // In the next window they have a full counter again, and it is one.
    expect([await passed('f'), await passed('g'), await passed('h'), await passed('i')]).toEqual([
      true,
      true,
      true,
      false,
    ]);
  });
});

describe('windows of a quota', () => {
  const month = (clock: Clock): RateLimit =>
    createRateLimit({ name: 'api', rules: [{ kind: 'quota', name: 'all', limit: 1, per: 'month' }], clock });

  test('end with the month of UTC', async () => {
    const clock = clockAt();
    const limit = month(clock);
    expect(await limit.take()).toMatchObject({ allowed: true, resetMs: 1_000 });
    expect(await limit.take()).toMatchObject({ allowed: false, retryAfterMs: 1_000 });
    clock.wallMs += 1_000;
    expect(await limit.take()).toMatchObject({ allowed: true, resetMs: 28 * 86_400_000 });
  });

  test('a clock that is set back gives no points back, and one that was far ahead holds nobody up for years', async () => {
    const clock = clockAt();
    const limit = month(clock);
    clock.wallMs += 1_000;
    expect((await limit.take()).allowed).toBe(true);
    clock.wallMs -= 500;
    expect(await limit.take()).toMatchObject({ allowed: false, retryAfterMs: 500 });
    clock.wallMs += 20 * 365 * 86_400_000;
    expect((await limit.take()).allowed).toBe(true);
    clock.wallMs = Date.UTC(2026, 1, 1);
    const { allowed, retryAfterMs } = await limit.take();
    expect([allowed, retryAfterMs]).toEqual([false, 28 * 86_400_000]);
  });
});

test('options that make no sense are told', () => {
  for (const maxKeys of [0, 1.5, 1e9])
    expect(() => memoryStore({ maxKeys })).toThrow(/maxKeys: is .*; want a whole/);
});
