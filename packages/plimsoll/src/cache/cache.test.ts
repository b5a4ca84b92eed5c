import { channel } from 'node:diagnostics_channel';
import { describe, expect, test } from 'vitest';
import { createContext, currentContext, runInContext } from '../kernel/context.ts';
import { Seen } from '../kernel/seen.ts';
import type { Cache } from './cache.ts';
import { createCache } from './create-cache.ts';
import { gate, HandClock, settled } from './fixtures/hand-clock.ts';
import { memoryBus } from './memory-bus.ts';
import { memorySharedStore } from './memory-shared-store.ts';
import type { CacheOptions } from './options.ts';
import { cachePolicy, type CachePolicyOptions } from './policy.ts';

const at = (lsn: bigint, epoch = '1.a') => ({ epoch, lsn });

function setUp(options: Partial<CacheOptions> = {}): { cache: Cache; clock: HandClock } {
  const clock = new HandClock();
  return { clock, cache: createCache({ name: 'test', clock, random: () => 0, ...options }) };
}
const policyOf = (options: Partial<CachePolicyOptions> = {}) =>
  cachePolicy({ ttlMs: 1_000, tags: ['t'], ...options });

describe('what is kept', () => {
  test('a value is loaded once and answered until its time is over', async () => {
    const { cache, clock } = setUp();
    let calls = 0;
    const get = () => cache.get('k', policyOf(), () => (calls += 1));
    expect([await get(), await get()]).toEqual([1, 1]);
    await clock.advance(990);
    expect(await get()).toBe(1);
    await clock.advance(10);
    expect(await get()).toBe(2);
    expect(cache.state()).toMatchObject({ loads: 2, processHits: 2, entries: 1 });
  });

  test('options may be given in place, with the loader', async () => {
    const { cache } = setUp();
    const options = { ttlMs: 1_000, tags: ['t'] as const, load: ({ key }: { key: string }) => key.length };
    expect(await cache.get('abc', options)).toBe(3);
    expect(cache.peek('abc')).toBe(3);
  });

  test('null is kept for a time of its own, undefined is not kept', async () => {
    const { cache, clock } = setUp();
    const policy = policyOf({ negativeTtlMs: 100 });
    let calls = 0;
    const none = () => cache.get('none', policy, () => ((calls += 1), null));
    expect([await none(), await none(), calls]).toEqual([null, null, 1]);
    await clock.advance(100);
    expect([await none(), calls]).toEqual([null, 2]);
    const unknown = () => cache.get('unknown', policy, () => void (calls += 1));
    expect([await unknown(), await unknown(), calls]).toEqual([undefined, undefined, 4]);
  });

  test('a value that is too large is answered and not kept', async () => {
    const { cache } = setUp();
    const policy = policyOf({ maxBytes: 100 });
    await cache.get('large', policy, () => 'x'.repeat(200));
    await cache.get('small', policy, () => 'x');
    expect([cache.peek('large'), cache.peek('small')]).toEqual([undefined, 'x']);
  });

  test('is bounded by bytes', async () => {
    const { cache } = setUp({ process: { maxBytes: 10_000 } });
    for (let n = 0; n < 100; n += 1) await cache.get(`k${n}`, policyOf(), () => 'x'.repeat(500));
    const { entries, bytes, evicted } = cache.state();
    expect(entries).toBeGreaterThan(5);
    expect(bytes).toBeLessThanOrEqual(10_000);
    expect(evicted).toBe(100 - entries);
  });

  test('is frozen, so that who changes it finds out', async () => {
    const { cache } = setUp({ freeze: true });
    const value = await cache.get('k', policyOf(), () => ({ list: [{ n: 1 }] }));
    expect(() => value.list.push({ n: 2 })).toThrow(TypeError);
    expect(() => Object.assign(value.list[0]!, { n: 2 })).toThrow(TypeError);
  });

  test('namespaces have keys of their own and the same tags', async () => {
    const { cache } = setUp();
    const [one, other] = [cache.namespace('one'), cache.namespace('other')];
    await one.get('k', policyOf(), () => 1);
    await other.get('k', policyOf(), () => 2);
    expect([one.peek('k'), other.peek('k'), cache.peek('one:k')]).toEqual([1, 2, 1]);
    await one.invalidate({ keys: ['k'] });
    expect([one.peek('k'), other.peek('k')]).toEqual([undefined, 2]);
    await one.invalidate({ tags: ['t'] });
    expect(other.peek('k')).toBeUndefined();
  });

  test('the versions of tags are forgotten with the last entry that compares them', async () => {
    const { cache, clock } = setUp({ process: { maxEntries: 10 } });
    const policy = policyOf({ tags: (key) => [`row:${key}`, 'all'] });
    for (let n = 0; n < 1_000; n += 1) await cache.get(`k${n}`, policy, () => n);
    expect(cache.state()).toMatchObject({ entries: 10, slots: 11 });
    await cache.clear();
    await clock.advance(1);
    expect(cache.state()).toMatchObject({ entries: 0, slots: 0 });
  });
});

describe('one load for all', () => {
  test('a thousand callers are answered by one load', async () => {
    const { cache } = setUp();
    const { load, waiting } = gate<number>();
    const all = Array.from({ length: 1_000 }, () => cache.get('k', policyOf(), load));
    await settled();
    expect(waiting).toHaveLength(1);
    waiting[0]!.resolve(7);
    expect(new Set(await Promise.all(all))).toEqual(new Set([7]));
    expect(cache.state()).toMatchObject({ loads: 1, joined: 999, flights: 0 });
  });

  test('a failure is shared by all who wait, and by those who come within a while', async () => {
    const { cache, clock } = setUp();
    const { load, waiting, ...rest } = gate<number>();
    const policy = policyOf({ failureMs: 400 });
    const all = Array.from({ length: 100 }, () => cache.get('k', policy, load));
    await settled();
    waiting[0]!.reject(new Error('down'));
    expect(new Set((await Promise.allSettled(all)).map(({ status }) => status))).toEqual(
      new Set(['rejected']),
    );
    await expect(cache.get('k', policy, load)).rejects.toThrow('down');
    await clock.advance(199);
    await expect(cache.get('k', policy, load)).rejects.toThrow('down');
    expect(waiting).toHaveLength(1);
    await clock.advance(1);
    const again = cache.get('k', policy, load);
    await settled();
    waiting[1]!.resolve(8);
    expect(await again).toBe(8);
    expect(rest.calls).toBe(0);
  });

  test('who comes after an invalidation does not join; the older load answers its own and is not kept', async () => {
    for (const what of [{ tags: ['t'] }, { keys: ['k'] }]) {
      const { cache } = setUp();
      const { load, waiting } = gate<string>();
      const before = cache.get('k', policyOf(), load);
      await settled();
      await cache.invalidate(what);
      const after = cache.get('k', policyOf(), load);
      await settled();
      expect(waiting).toHaveLength(2);
      waiting[1]!.resolve('new');
      expect(await after).toBe('new');
      waiting[0]!.resolve('old');
      expect(await before).toBe('old');
      expect(cache.peek('k')).toBe('new');
      expect(cache.state()).toMatchObject({ rejectedFills: 1, loads: 2 });
    }
  });

  test('who goes away waits no longer, and the load goes on for the others', async () => {
    const { cache } = setUp();
    const { load, waiting } = gate<number>();
    const leaving = new AbortController();
    const context = createContext({ signal: leaving.signal });
    const gone = runInContext(context, () => cache.get('k', policyOf(), load));
    const stays = cache.get('k', policyOf(), load);
    await settled();
    leaving.abort();
    await expect(gone).rejects.toMatchObject({ code: 'PL_ABORTED' });
    waiting[0]!.resolve(3);
    expect(await stays).toBe(3);
  });

  test('a loader that throws at once is a failure like any other', async () => {
    const { cache } = setUp();
    const load = (): number => {
      throw new Error('at once');
    };
    await expect(cache.get('k', policyOf(), load)).rejects.toThrow('at once');
    expect(cache.state()).toMatchObject({ loadFailures: 1, flights: 0 });
  });
});

describe('stale values', () => {
  const policy = policyOf({
    staleWhileRevalidateMs: 500,
    staleIfErrorMs: 5_000,
    softTimeoutMs: 50,
    hardTimeoutMs: 200,
    failureMs: 400,
  });

  test('are answered at once while they are refreshed', async () => {
    const { cache, clock } = setUp();
    const { load, waiting } = gate<string>();
    void cache.get('k', policy, load);
    await settled();
    waiting[0]!.resolve('old');
    await settled();
    await clock.advance(1_000);
    expect(await cache.get('k', policy, load)).toBe('old');
    expect(await cache.get('k', policy, load)).toBe('old');
    await settled();
    expect(waiting).toHaveLength(2);
    waiting[1]!.resolve('new');
    await settled();
    expect(await cache.get('k', policy, load)).toBe('new');
    expect(cache.state()).toMatchObject({ stale: 2, loads: 2 });
  });

  test('are answered when the load fails, which is tried again after a while counted from the failure', async () => {
    const { cache, clock } = setUp();
    let fails = false;
    let calls = 0;
    const load = () => {
      calls += 1;
      if (fails) throw new Error('down');
      return calls;
    };
    await cache.get('k', policy, load);
    fails = true;
    // Long after it was fresh.
    await clock.advance(4_000);
    for (let n = 0; n < 5; n += 1) expect(await cache.get('k', policy, load)).toBe(1);
    expect(calls).toBe(2);
    await clock.advance(200);
    expect(await cache.get('k', policy, load)).toBe(1);
    expect(calls).toBe(3);
    await clock.advance(2_000);
    await expect(cache.get('k', policy, load)).rejects.toThrow('down');
  });

  test('are answered when the load is slower than the soft time limit, and it goes on', async () => {
    const { cache, clock } = setUp();
    const { load, waiting } = gate<string>();
    void cache.get('k', policy, load);
    await settled();
    waiting[0]!.resolve('old');
    await settled();
    await clock.advance(1_600);
    const asked = cache.get('k', policy, load);
    await clock.advance(50);
    expect(await asked).toBe('old');
    waiting[1]!.resolve('new');
    await settled();
    expect(cache.peek('k')).toBe('new');
  });

  test('are never answered when they were invalidated', async () => {
    const { cache, clock } = setUp();
    await cache.get('k', policy, () => 'old');
    await clock.advance(1_100);
    await cache.invalidate({ tags: ['t'] });
    const load = (): string => {
      throw new Error('down');
    };
    await expect(cache.get('k', policy, load)).rejects.toThrow('down');
  });

  test('a value that was dear to load is refreshed early, by one, in the background', async () => {
    const { cache, clock } = setUp({ random: () => 0.5 });
    const { load, waiting } = gate<string>();
    const early = policyOf({ earlyRefresh: 2, jitter: 0 });
    const first = cache.get('k', early, load);
    await settled();
    await clock.advance(100);
    waiting[0]!.resolve('one');
    await first;
    // ln 2 * 100 ms * 2 before its end.
    await clock.advance(840);
    expect(await cache.get('k', early, load)).toBe('one');
    expect(waiting).toHaveLength(1);
    await clock.advance(30);
    expect([await cache.get('k', early, load), await cache.get('k', early, load)]).toEqual(['one', 'one']);
    await settled();
    expect(waiting).toHaveLength(2);
    waiting[1]!.resolve('two');
    await settled();
    expect(cache.peek('k')).toBe('two');
  });
});

describe('loads that take too long', () => {
  const policy = policyOf({ hardTimeoutMs: 200, abandonMs: 1_000 });

  test('the hard time limit answers the callers and keeps the flight, so there is one load', async () => {
    const { cache, clock } = setUp();
    const { load, waiting } = gate<string>();
    const first = cache.get('k', policy, load);
    await settled();
    await Promise.all([expect(first).rejects.toMatchObject({ code: 'PL_TIMEOUT' }), clock.advance(200)]);
    for (let n = 0; n < 50; n += 1)
      await expect(cache.get('k', policy, load)).rejects.toMatchObject({ code: 'PL_TIMEOUT' });
    expect(waiting).toHaveLength(1);
    waiting[0]!.resolve('late');
    await settled();
    expect(await cache.get('k', policy, load)).toBe('late');
  });

  test('a load that never ends is given up: it is aborted, the next one begins, and what it brings is not kept', async () => {
    const { cache, clock } = setUp();
    let signal: AbortSignal | undefined;
    const { promise, resolve } = Promise.withResolvers<string>();
    const first = cache.get('k', policy, (loading) => {
      signal = loading.signal;
      return promise;
    });
    await settled();
    await Promise.all([expect(first).rejects.toMatchObject({ code: 'PL_TIMEOUT' }), clock.advance(1_000)]);
    expect(signal?.aborted).toBe(true);
    expect(await cache.get('k', policy, () => 'second')).toBe('second');
    resolve('first');
    await settled();
    expect(cache.peek('k')).toBe('second');
    expect(cache.state()).toMatchObject({ abandoned: 1, flights: 0, slots: 1 });
  });
});

describe('writes', () => {
  test('what was written is kept, and everything else of its tags is not', async () => {
    const { cache } = setUp();
    await cache.get('k', policyOf(), () => 'old');
    await cache.get('list', policyOf(), () => ['old']);
    expect(await cache.write('k', policyOf(), async () => 'new')).toBe('new');
    expect([cache.peek('k'), cache.peek('list')]).toEqual(['new', undefined]);
  });

  test('it is not kept when somebody else has invalidated the tags since before it', async () => {
    const { cache } = setUp();
    await cache.write('k', policyOf(), async () => {
      await cache.invalidate({ tags: ['t'] });
      return 'perhaps older';
    });
    expect(cache.peek('k')).toBeUndefined();
  });

  test('one that fails may have been done, so it invalidates', async () => {
    const { cache } = setUp();
    await cache.get('k', policyOf(), () => 'old');
    const fails = cache.write('k', policyOf(), async () => {
      throw new Error('lost');
    });
    await expect(fails).rejects.toThrow('lost');
    expect(cache.peek('k')).toBeUndefined();
  });
});

describe('what the reader has seen', () => {
  const reader = (note: (seen: Seen) => void) => {
    const seen = new Seen();
    note(seen);
    const context = createContext({ seen });
    return <T>(work: () => T): T => runInContext(context, work);
  };

  test('who wrote to a tag is not answered with what may be older, and others are', async () => {
    const { cache } = setUp();
    const asked: (bigint | undefined)[] = [];
    const load = ({ atLeast }: { atLeast: { lsn: bigint } | undefined }) => asked.push(atLeast?.lsn);
    await cache.get('k', policyOf(), load);
    const writer = reader((seen) => seen.noteWritten('primary', '1.a', 50n, ['t']));
    const elsewhere = reader((seen) => seen.noteWritten('primary', '1.a', 90n, ['other']));
    expect(await elsewhere(() => cache.get('k', policyOf(), load))).toBe(1);
    expect(await writer(() => cache.get('k', policyOf(), load))).toBe(2);
    // It reflects 50 now, which is enough.
    expect(await writer(() => cache.get('k', policyOf(), load))).toBe(2);
    expect(asked).toEqual([undefined, 50n]);
  });

  test('with its tags dropped, a reader gets nothing older than its last write', async () => {
    const { cache } = setUp();
    await cache.get('k', policyOf(), ({ reflect }) => (reflect(at(40n)), 'old'));
    const many = reader((seen) => {
      for (let n = 0; n < 40; n += 1) seen.noteWritten('primary', '1.a', BigInt(n + 10), [`other:${n}`]);
    });
    expect(await many(() => cache.get('k', policyOf(), () => 'new'))).toBe('new');
  });

  test('an entry of a later history is good, one of an earlier is not', async () => {
    const { cache } = setUp();
    await cache.get('k', policyOf(), ({ reflect }) => (reflect(at(10n, '2.b')), 'kept'));
    const before = reader((seen) => seen.noteWritten('primary', '1.a', 99n, ['t']));
    const after = reader((seen) => seen.noteWritten('primary', '3.c', 1n, ['t']));
    expect(await before(() => cache.get('k', policyOf(), () => 'loaded'))).toBe('kept');
    expect(await after(() => cache.get('k', policyOf(), () => 'loaded'))).toBe('loaded');
  });

  test('when it is not known what was written, and under a command, it is loaded past the cache', async () => {
    const { cache } = setUp();
    await cache.get('k', policyOf(), () => 'kept');
    const unknown = reader((seen) => seen.noteUnknown('primary'));
    expect(await unknown(() => cache.get('k', policyOf(), () => 'loaded'))).toBe('loaded');
    const command = createContext({ strong: true });
    expect(await runInContext(command, () => cache.get('k', policyOf(), () => 'loaded'))).toBe('loaded');
    const cached = policyOf({ inCommands: 'cached' });
    expect(await runInContext(command, () => cache.get('k', cached, () => 'loaded'))).toBe('kept');
    expect(cache.peek('k')).toBe('kept');
    expect(cache.state().bypassed).toBe(2);
  });

  test('what is loaded after an invalidation must be at or past it, or it is not kept and its writer is told', async () => {
    const { cache } = setUp();
    await cache.invalidate({ tags: ['t'], at: at(70n) });
    const behind = { lsn: 0n };
    const lagging = policyOf();
    const value = await cache.get('k', lagging, ({ atLeast, reflect }) => {
      behind.lsn = atLeast!.lsn;
      reflect(at(60n));
      return 'old';
    });
    expect([value, behind.lsn, cache.peek('k')]).toEqual(['old', 70n, undefined]);
    const writer = reader((seen) => seen.noteWritten('primary', '1.a', 70n, ['t']));
    const asked = writer(() => cache.get('k', lagging, ({ reflect }) => (reflect(at(60n)), 'old')));
    await expect(asked).rejects.toMatchObject({ code: 'PL_CACHE_BEHIND' });
    expect(await cache.get('k', lagging, ({ reflect }) => (reflect(at(71n)), 'new'))).toBe('new');
    expect(cache.peek('k')).toBe('new');
  });

  test('the loader runs in a context of its own, which has seen what its value must reflect', async () => {
    const { cache } = setUp();
    await cache.invalidate({ keys: ['k'], at: at(70n) });
    const { currentContext } = await import('../kernel/context.ts');
    const caller = createContext({ caller: { principal: 'p' }, correlationId: 'c-1' });
    await runInContext(caller, () =>
      cache.get('k', policyOf(), () => {
        const context = currentContext()!;
        expect(context.caller.principal).toBeUndefined();
        expect(context.correlationId).toBe('c-1');
        expect(context.seen.mark('primary')).toMatchObject({ epoch: '1.a', written: 70n });
        return 1;
      }),
    );
    expect(cache.peek('k')).toBe(1);
  });
});

describe('one request', () => {
  test('is answered the same again without a process tier, unless it was invalidated', async () => {
    const { cache, clock } = setUp({ process: false });
    let calls = 0;
    const get = () => cache.get('k', policyOf(), () => (calls += 1));
    await runInContext(createContext(), async () => {
      expect([await get(), await get()]).toEqual([1, 1]);
      await cache.invalidate({ keys: ['k'] });
      expect([await get(), await get()]).toEqual([2, 2]);
      await cache.invalidate({ tags: ['t'] });
      expect(await get()).toBe(3);
      await clock.advance(1_000);
      expect(await get()).toBe(4);
    });
    expect(await runInContext(createContext(), get)).toBe(5);
    expect(cache.state().memoHits).toBe(2);
  });
});

describe('a bus', () => {
  test('tells the others; while it is not trusted nothing is kept', async () => {
    const bus = memoryBus();
    const [one, other] = [setUp({ bus }).cache, setUp({ bus }).cache];
    await one.get('k', policyOf(), () => 1);
    expect([one.state().trusted, one.peek('k')]).toEqual([false, undefined]);
    await Promise.all([one.start(), other.start()]);
    for (const cache of [one, other]) await cache.get('k', policyOf(), () => 1);
    await one.invalidate({ tags: ['t'] });
    expect([one.peek('k'), other.peek('k')]).toEqual([undefined, undefined]);
    await other.get('k', policyOf(), () => 2);
    expect(other.peek('k')).toBe(2);
    await other.stop();
    expect([other.state().trusted, other.peek('k')]).toEqual([false, undefined]);
    await one.stop();
  });

  test('a load that began before it was trusted is not kept', async () => {
    const { cache } = setUp({ bus: memoryBus() });
    const { load, waiting } = gate<string>();
    const before = cache.get('k', policyOf(), load);
    await settled();
    await cache.start();
    waiting[0]!.resolve('old');
    expect([await before, cache.peek('k')]).toEqual(['old', undefined]);
    await cache.stop();
  });
});

describe('telling', () => {
  test('each answer is told with its tier', async () => {
    const { cache } = setUp();
    const told: unknown[] = [];
    const listen = (message: unknown): void => {
      const { scope, tier, outcome } = message as { scope: unknown; tier: string; outcome: string };
      if (scope === cache) told.push(`${tier} ${outcome}`);
    };
    channel('plimsoll:cache.read').subscribe(listen);
    await cache.get('k', policyOf(), () => 1);
    await cache.get('k', policyOf(), () => 1);
    await cache.get('bad', policyOf(), () => Promise.reject(new Error('down'))).catch(() => undefined);
    channel('plimsoll:cache.read').unsubscribe(listen);
    expect(told).toEqual(['loader loaded', 'process hit', 'loader error']);
  });

  test('a sample of the hits is compared with what there is', async () => {
    const { cache } = setUp({ sampleEvery: 2 });
    const get = (truth: number) => cache.get('k', policyOf(), () => truth);
    for (let n = 0; n < 5; n += 1) await get(1);
    await settled();
    expect(cache.state()).toMatchObject({ sampled: 2, inconsistent: 0 });
  });
});

test('every problem of the options is told at once', () => {
  expect(() =>
    createCache({
      name: '',
      processes: 'several',
      sharedSoftMs: 300,
      sampleEvery: 0.5,
      process: { maxBytes: 0 },
    }),
  ).toThrow(/5 problems[^]*name[^]*maxBytes[^]*sampleEvery[^]*sharedSoftMs[^]*bus/);
  expect(() => cachePolicy({ ttlMs: 0, tags: [''], jitter: 1, abandonMs: 5, failureMs: -1 })).toThrow(
    /5 problems[^]*tags[^]*ttlMs[^]*failureMs[^]*jitter[^]*abandonMs/,
  );
});

test('several processes without a bus are refused, unless the process keeps nothing', () => {
  expect(() => createCache({ name: 'a', processes: 'several' })).toThrow(/bus: is missing/);
  expect(() => createCache({ name: 'a', processes: 'several', process: false })).not.toThrow();
  expect(() => createCache({ name: 'a', processes: 'several', bus: memoryBus() })).not.toThrow();
});

test('who is answered has seen what the load has shown, whatever tier answers', async () => {
  const shared = memorySharedStore();
  const [one, other] = [createCache({ name: 'shown', shared }), createCache({ name: 'shown', shared })];
  const read = async (): Promise<number> => {
    currentContext()?.seen.noteRead('db', '1.a', 5n);
    return 1;
  };
  const never = (): never => expect.unreachable();
  const by = (cache: Cache, load: () => Promise<number>): Promise<Seen> => {
    const seen = new Seen();
    return runInContext(createContext({ seen }), () =>
      cache.get('k', { ttlMs: 60_000, tags: ['t'] }, load),
    ).then(() => seen);
  };
  expect((await by(one, read)).mark('db')).toMatchObject({ epoch: '1.a', read: 5n, written: 0n });
  expect((await by(one, never)).mark('db')).toMatchObject({ read: 5n });
  // From the shared tier, and then from what this one keeps of it.
  await expect.poll(async () => (await by(other, read)).mark('db')).toMatchObject({ read: 5n });
  expect((await by(other, never)).mark('db')).toMatchObject({ read: 5n });
});

test('what a process fills before it knows what it has missed is dropped once it does', async () => {
  const answered = Promise.withResolvers<void>();
  // The stream knows no position, as one that was lost with its server, and the row of the invalidation is deleted.
  const cache = createCache({
    name: 'lost',
    bus: memoryBus(),
    truth: {
      async read() {
        await answered.promise;
        return { at: { epoch: '1.a', lsn: 10n }, rows: [], known: [] };
      },
    },
  });
  await cache.start();
  // A replica that is late, until it is told what it must show.
  const get = (): Promise<string> =>
    cache.get('k', { ttlMs: 60_000, tags: ['t'] }, ({ atLeast }) =>
      atLeast !== undefined && atLeast.lsn >= 10n ? 'new' : 'old',
    );
  expect(await get()).toBe('old');
  expect(await get()).toBe('old');
  answered.resolve();
  await expect.poll(get, { timeout: 5_000 }).toBe('new');
  await cache.stop();
});

test('an invalidation without a position takes that of the commit that its context has made', async () => {
  const cache = createCache({ name: 'committed' });
  const seen = new Seen();
  seen.noteWritten('db', '1.a', 7n);
  await runInContext(createContext({ seen }), () => cache.invalidate({ tags: ['t'] }));
  expect(seen.touchedTags('db')).toEqual([{ tag: 't', written: 7n }]);
  const atLeast: unknown[] = [];
  await cache.get('k', { ttlMs: 60_000, tags: ['t'] }, (loading) => {
    atLeast.push(loading.atLeast);
    return 1;
  });
  expect(atLeast).toEqual([{ epoch: '1.a', lsn: 7n }]);
});
