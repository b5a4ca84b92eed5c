import { describe, expect, test, vi } from 'vitest';
import { background, refusals, type RefusalMessage } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { failureKind } from '../kernel/failure-kind.ts';
import type { Guard } from '../kernel/attempt.ts';
import { byPrincipal, byTenant } from './client-key.ts';
import { memoryStore } from './memory-store.ts';
import { createRateLimit, type RateLimitOptions } from './rate-limit.ts';
import { probeMs } from './shared-counters.ts';
import type { RateLimitStore } from './store.ts';

/** The time that the faked timers keep. */
const faked: Clock = { ...systemClock, monotonicMs: () => Date.now() };

describe('a limit', () => {
  const manual = (): Clock & { ms: number } => ({
    ...systemClock,
    ms: 0,
    monotonicMs() {
      return this.ms;
    },
  });

  test('takeNow says at once what take says, for one rule, for several, and for a rule that does not apply', async () => {
    const second = { kind: 'rate', name: 'second', limit: 10, perMs: 1_000, burst: 3 } as const;
    const hour = { kind: 'quota', name: 'hour', limit: 2, per: 'hour' } as const;
    const odd = { ...second, key: (id: number) => (id % 2 === 0 ? undefined : `${id}`) };
    for (const rules of [[second], [hour], [odd], [second, hour]]) {
      const clock = Object.assign(manual(), { now: () => 0 });
      const [now, later] = [1, 2].map(() => createRateLimit<number>({ name: 'api', rules, clock }));
      for (const [id, cost, ms] of [
        [1, 1, 0],
        [1, 2, 0],
        [1, 1, 0],
        [2, 1, 0],
        [1, 1, 150],
        [1, 9, 0],
      ] as const) {
        clock.ms += ms;
        const said = now!.takeNow(id, cost);
        expect(said).toEqual(await later!.take(id, cost));
        expect(said.rules).toEqual((await later!.peek(id, cost)).rules);
      }
      expect(now!.state()).toEqual(later!.state());
      expect(now!.state().denied).toBeGreaterThan(0);
    }
  });

  test('takeNow of a shared store is refused, as is a cost that would give points', () => {
    const store: RateLimitStore = { ...memoryStore(), shared: true };
    const rules = [{ kind: 'rate', name: 'all', limit: 1, perMs: 1_000 }] as const;
    const shared = createRateLimit({ name: 'api', rules, store, whenStoreFails: 'open' });
    expect(() => shared.takeNow()).toThrow(expect.objectContaining({ code: 'PL_CONFIG' }));
    const own = createRateLimit({ name: 'api', rules });
    for (const cost of [0, -1, NaN, Infinity])
      expect(() => own.takeNow(undefined, cost)).toThrow(expect.objectContaining({ code: 'PL_CONFIG' }));
  });

  test('tells what is left, when all is back and when to come again, of the rule that binds', async () => {
    const clock = manual();
    const limit = createRateLimit({
      name: 'api',
      rules: [
        { kind: 'rate', name: 'second', limit: 10, perMs: 1_000, burst: 20 },
        { kind: 'rate', name: 'minute', limit: 22, perMs: 60_000 },
      ],
      clock,
    });
    expect(await limit.take()).toMatchObject({
      allowed: true,
      rule: 'second',
      limit: 20,
      remaining: 19,
      resetMs: 100,
    });
    expect(await limit.take(undefined, 19)).toMatchObject({ allowed: true, remaining: 0, retryAfterMs: 0 });
    expect(await limit.take()).toMatchObject({ allowed: false, rule: 'second', retryAfterMs: 100 });
    clock.ms += 100;
    expect(await limit.peek()).toMatchObject({ allowed: true, rule: 'second', remaining: 1 });
    clock.ms += 900;
    const { allowed, rule, rules } = await limit.take(undefined, 5);
    expect([allowed, rule]).toEqual([false, 'minute']);
    expect(rules.map((each) => [each.rule, each.remaining, Math.round(each.nextMs)])).toEqual([
      ['second', 10, 100],
      ['minute', 2, 1727],
    ]);
    expect(await limit.take(undefined, 21)).toMatchObject({
      allowed: false,
      rule: 'second',
      retryAfterMs: Infinity,
    });
  });

  test('run is a guard: it does the work, or refuses and does not', async () => {
    const messages: RefusalMessage[] = [];
    const scope = {};
    const stop = refusals.subscribe((message) => messages.push(message));
    const limit = createRateLimit({
      name: 'mail',
      scope,
      rules: [{ kind: 'quota', name: 'daily', limit: 1, per: 'day' }],
    });
    const guard: Guard = limit;
    const work = vi.fn<() => Promise<string>>(() => Promise.resolve('sent'));
    expect(await guard.run(work)).toBe('sent');
    const refused = await guard.run(work).catch((error: unknown) => error);
    expect(work).toHaveBeenCalledTimes(1);
    expect(failureKind(refused)).toBe('refused');
    expect(refused).toMatchObject({
      code: 'PL_RATE_LIMITED',
      status: 429,
      message: expect.stringMatching(
        /^mail refused: rule daily has 0 of 1 points left; retry in \d+ ms$/,
      ) as string,
      data: {
        name: 'mail',
        rule: 'daily',
        limit: 1,
        remaining: 0,
        retryAfterMs: expect.any(Number) as number,
      },
    });
    stop();
    expect(messages).toEqual([{ scope, policy: 'rate-limit', name: 'mail', reason: 'rule daily' }]);
    expect(limit.state()).toEqual({ name: 'mail', store: 'up', allowed: 1, denied: 1, degraded: 0 });
    await limit.reset();
    const thrown = limit.run(() => {
      throw new Error('at once');
    });
    await expect(thrown).rejects.toThrow('at once');
  });

  test('a call that costs more than there ever is hears so, and no time to come again', async () => {
    const limit = createRateLimit({
      name: 'bytes',
      rules: [{ kind: 'rate', name: 'a', limit: 5, perMs: 1_000 }],
    });
    const refusal = limit.refusal(await limit.take(undefined, 6));
    expect(refusal.message).toContain('the call costs more than 5; ask for less at once');
    expect(refusal.data).not.toHaveProperty('retryAfterMs');
  });

  test('a cost that would give points, or is no number, is refused', async () => {
    const limit = createRateLimit({
      name: 'a',
      rules: [{ kind: 'rate', name: 'a', limit: 1, perMs: 1_000 }],
    });
    for (const cost of [-1, 0, Number.NaN, Infinity]) {
      await expect(limit.take(undefined, cost)).rejects.toMatchObject({ code: 'PL_CONFIG' });
      await expect(limit.peek(undefined, cost)).rejects.toMatchObject({ code: 'PL_CONFIG' });
    }
    expect((await limit.take()).allowed).toBe(true);
  });

  test('keys from the context: a rule without its key does not apply', async () => {
    const limit = createRateLimit({
      name: 'api',
      rules: [
        { kind: 'quota', name: 'principal', limit: 1, per: 'day', key: byPrincipal },
        { kind: 'quota', name: 'tenant', limit: 2, per: 'day', key: byTenant },
      ],
    });
    const as = (principal?: string, tenant?: string): Promise<boolean> =>
      runInContext(
        createContext({ caller: { ...(principal && { principal }), ...(tenant && { tenant }) } }),
        async () => (await limit.take()).allowed,
      );
    expect([
      await as('ann', 'acme'),
      await as('ann', 'acme'),
      await as('bob', 'acme'),
      await as('cy', 'acme'),
    ]).toEqual([true, false, true, false]);
    expect(await limit.take()).toMatchObject({
      allowed: true,
      rule: undefined,
      remaining: Infinity,
      rules: [],
    });
  });

  test('every problem of the options is told at once', () => {
    const bad = {
      name: 'a b',
      rules: [
        { kind: 'rate', name: 'x', limit: 0, perMs: 0.5, burst: 1.5 },
        { kind: 'quota', name: 'x', limit: 1, per: 'year' },
        { kind: 'window', name: '', limit: 1 },
      ],
      whenStoreFails: 'maybe',
      storeTimeoutMs: 0,
      denyForMs: -1,
    } as unknown as RateLimitOptions;
    let message = '';
    try {
      createRateLimit(bad);
    } catch (error) {
      message = (error as Error).message;
    }
    const paths = [...message.matchAll(/^ {2}(\S+): /gm)].map(([, path]) => path);
    expect(new Set(paths)).toEqual(
      new Set([
        'name',
        'rules[0].limit',
        'rules[0].burst',
        'rules[0].perMs',
        'rules[1].name',
        'rules[1].per',
        'rules[2].name',
        'rules[2].kind',
        'storeTimeoutMs',
        'denyForMs',
        'whenStoreFails',
      ]),
    );
    expect(paths).toHaveLength(11);
    expect(() => createRateLimit({ name: 'a', rules: [] })).toThrow('rules: are 0; want 1 to 8');
    const shared = { ...memoryStore(), shared: true };
    expect(() =>
      createRateLimit({ name: 'a', rules: [{ kind: 'rate', name: 'a', limit: 1, perMs: 1 }], store: shared }),
    ).toThrow('whenStoreFails: is missing');
  });
});

/** Counters of ours, at a distance that the test decides. */
function distant(): { store: RateLimitStore; now: 'answers' | 'hangs' | 'fails'; asked: number } {
  const here = memoryStore();
  const state = {
    now: 'answers' as 'answers' | 'hangs' | 'fails',
    asked: 0,
    store: {
      shared: true,
      open(options) {
        const counters = here.open(options);
        return {
          async take(keys, cost) {
            state.asked += 1;
            if (state.now === 'fails') throw new Error('connection refused');
            if (state.now === 'hangs') await new Promise(() => undefined);
            return counters.take(keys, cost);
          },
          reset: (keys) => counters.reset(keys),
        };
      },
    } satisfies RateLimitStore,
  };
  return state;
}

describe('a shared store', () => {
  const limitOn = (
    store: RateLimitStore,
    options: Partial<RateLimitOptions<string>> = {},
  ): ReturnType<typeof createRateLimit<string>> =>
    createRateLimit<string>({
      name: 'api',
      rules: [{ kind: 'rate', name: 'client', limit: 10, perMs: 10_000, burst: 10, key: (key) => key }],
      store,
      whenStoreFails: 'open',
      clock: faked,
      ...options,
    });

  test('that hangs is waited for storeTimeoutMs by the first, and by one in half a second after that', async () => {
    vi.useFakeTimers();
    try {
      const away = distant();
      const limit = limitOn(away.store);
      away.now = 'hangs';
      const first = Promise.all(['a', 'b', 'c', 'd'].map((key) => limit.take(key)));
      await vi.advanceTimersByTimeAsync(49);
      expect(limit.state().degraded).toBe(0);
      await vi.advanceTimersByTimeAsync(1);
      expect((await first).map(({ degraded }) => degraded)).toEqual(['open', 'open', 'open', 'open']);
      expect(limit.state().store).toBe('down');
      expect(away.asked).toBe(4);
      for (let n = 0; n < 100; n += 1) expect((await limit.take('a')).degraded).toBe('open');
      expect(away.asked).toBe(4);
      await vi.advanceTimersByTimeAsync(probeMs);
      away.now = 'answers';
      // Several come at once: one asks, the others do not wait for it.
      const both = [limit.take('a'), limit.take('a')];
      expect((await Promise.all(both)).map(({ degraded }) => degraded)).toEqual([undefined, 'open']);
      expect(away.asked).toBe(5);
      expect(limit.state().store).toBe('up');
      expect((await limit.take('a')).degraded).toBeUndefined();
    } finally {
      vi.useRealTimers();
    }
  });

  test('one failure alone takes nothing from the next call', async () => {
    const away = distant();
    const limit = limitOn(away.store);
    for (let n = 0; n < 5; n += 1) {
      away.now = 'fails';
      expect((await limit.take('a')).degraded).toBe('open');
      away.now = 'answers';
      expect((await limit.take('a')).degraded).toBeUndefined();
    }
    expect(limit.state().store).toBe('up');
  });

  test('closed refuses and says when to come again; the failure is told once', async () => {
    const told: unknown[] = [];
    const scope = {};
    const stop = background.subscribe((message) => message.scope === scope && told.push(message));
    const away = distant();
    const limit = limitOn(away.store, { whenStoreFails: 'closed', scope });
    away.now = 'fails';
    for (let n = 0; n < 10; n += 1)
      expect(await limit.take('a')).toMatchObject({ allowed: false, degraded: 'closed' });
    const refusal = limit.refusal(await limit.take('a'));
    expect(refusal.data).toEqual({ name: 'api', retryAfterMs: probeMs, degraded: 'closed' });
    expect(refusal.message).toContain('the store of its counters is away');
    stop();
    expect(told).toEqual([
      {
        scope,
        what: 'store of the rate limit api: away',
        error: expect.objectContaining({ message: 'connection refused' }) as Error,
      },
    ]);
  });

  test('a share of the limit: half of it in each of two instances, at half the rate', async () => {
    vi.useFakeTimers();
    try {
      const away = distant();
      const limit = limitOn(away.store, { whenStoreFails: { instances: 2 } });
      away.now = 'fails';
      const passed = async (): Promise<number> => {
        let count = 0;
        while ((await limit.take('a')).allowed) count += 1;
        return count;
      };
      expect(await passed()).toBe(5);
      await vi.advanceTimersByTimeAsync(4_000);
      expect(await passed()).toBe(2);
      // More than the share, but not more than the limit: the store may allow it when it is back.
      expect(await limit.take('b', 8)).toMatchObject({
        allowed: false,
        retryAfterMs: probeMs,
        degraded: 'local',
      });
    } finally {
      vi.useRealTimers();
    }
  });

  test('a denial is repeated without asking as long as it must hold, and no longer than denyForMs', async () => {
    vi.useFakeTimers();
    try {
      const away = distant();
      const limit = limitOn(away.store, { denyForMs: 3_000 });
      for (let n = 0; n < 10; n += 1) await limit.take('a');
      expect(await limit.take('a')).toMatchObject({ allowed: false, retryAfterMs: 1_000 });
      const asked = away.asked;
      await vi.advanceTimersByTimeAsync(400);
      const again = await limit.take('a');
      expect([again.allowed, Math.round(again.retryAfterMs), again.resetMs]).toEqual([false, 600, 9_600]);
      expect((await limit.take('b')).allowed).toBe(true);
      expect(away.asked).toBe(asked + 1);
      await vi.advanceTimersByTimeAsync(600);
      expect((await limit.take('a')).allowed).toBe(true);
      expect((await limit.take('a', 9)).retryAfterMs).toBe(9_000);
      // A smaller cost may pass where a greater one did not.
      const before = away.asked;
      await vi.advanceTimersByTimeAsync(1_000);
      expect((await limit.take('a')).allowed).toBe(true);
      expect(away.asked).toBe(before + 1);
      expect((await limit.take('a', 9)).allowed).toBe(false);
      expect(away.asked).toBe(before + 1);
      await vi.advanceTimersByTimeAsync(2_000);
      expect((await limit.take('a', 9)).allowed).toBe(false);
      expect(away.asked).toBe(before + 2);
    } finally {
      vi.useRealTimers();
    }
  });
});
