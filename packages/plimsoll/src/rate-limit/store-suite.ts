import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { systemClock } from '../kernel/clock.ts';
import { waitMs } from './result.ts';
import type { StoreRule } from './rules.ts';
import type { Decision, RateCounters, RateLimitStore } from './store.ts';

/** One promise of every {@link RateLimitStore}; rejects when the store breaks it. */
export interface StoreCase {
  readonly name: string;
  run(store: RateLimitStore): Promise<void>;
}

const rate = (capacity: number, intervalMs: number, name = 'rate'): StoreRule => ({
  kind: 'rate',
  name,
  capacity,
  intervalMs,
});
const quota = (capacity: number, per: 'second' | 'hour' | 'month', name = 'quota'): StoreRule => ({
  kind: 'quota',
  name,
  capacity,
  per,
});
const hour = 3_600_000;

function open(store: RateLimitStore, rules: readonly StoreRule[], name: string = randomUUID()): RateCounters {
  return store.open({ name, rules, clock: systemClock, scope: {} });
}

const take = async (
  counters: RateCounters,
  keys: readonly (string | undefined)[],
  cost = 1,
): Promise<Decision> => await counters.take(keys, cost);

async function takeMany(counters: RateCounters, key: string, times: number, cost = 1): Promise<boolean[]> {
  const allowed: boolean[] = [];
  for (let n = 0; n < times; n += 1) allowed.push((await take(counters, [key], cost)).allowed);
  return allowed;
}

const usedOf = ({ levels }: Decision, index = 0): number =>
  Math.round((levels[index]?.used ?? Number.NaN) * 100) / 100;

/** What every store must do, whatever keeps its counters. */
export const storeSuite: readonly StoreCase[] = [
  {
    name: 'a rate takes its burst at once, and tells how long the next point takes',
    async run(store) {
      const rule = rate(5, hour);
      const counters = open(store, [rule]);
      assert.deepEqual(await takeMany(counters, 'k', 7), [true, true, true, true, true, false, false]);
      const denied = await take(counters, ['k']);
      const [level] = denied.levels;
      assert.ok(level !== undefined);
      const retryMs = waitMs(rule, level, 1);
      assert.ok(retryMs > 0.9 * hour && retryMs <= hour, `retry in ${retryMs}`);
      assert.ok(level.resetMs > 4.9 * hour && level.resetMs <= 5 * hour, `reset in ${level.resetMs}`);
      assert.equal((await take(counters, ['other'])).allowed, true);
    },
  },
  {
    name: 'a quota takes its limit in a window of the calendar',
    async run(store) {
      const counters = open(store, [quota(3, 'month')]);
      assert.deepEqual(await takeMany(counters, 'k', 4), [true, true, true, false]);
      const { levels } = await take(counters, ['k']);
      const now = new Date();
      const leftMs = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1) - now.getTime();
      assert.equal(levels[0]?.used, 3);
      assert.ok(Math.abs((levels[0]?.resetMs ?? 0) - leftMs) < 60_000, `${levels[0]?.resetMs} of ${leftMs}`);
    },
  },
  {
    name: 'what is denied takes nothing, whatever it costs',
    async run(store) {
      for (const rule of [rate(5, hour), quota(5, 'hour')]) {
        const counters = open(store, [rule]);
        assert.deepEqual(await takeMany(counters, 'k', 3, 3), [true, false, false]);
        assert.equal((await take(counters, ['k'], 6)).allowed, false);
        assert.deepEqual(await takeMany(counters, 'k', 2, 2), [true, false]);
      }
    },
  },
  {
    name: 'a cost of 0 takes nothing and tells the level',
    async run(store) {
      const counters = open(store, [rate(5, hour, 'a'), quota(5, 'hour', 'b')]);
      await take(counters, ['k', 'k'], 2);
      for (let n = 0; n < 3; n += 1) {
        const looked = await take(counters, ['k', 'k'], 0);
        assert.deepEqual([looked.allowed, usedOf(looked, 0), usedOf(looked, 1)], [true, 2, 2]);
      }
      const fresh = await take(counters, ['new', 'new'], 0);
      assert.deepEqual(fresh.levels, [
        { used: 0, resetMs: 0 },
        { used: 0, resetMs: 0 },
      ]);
    },
  },
  {
    name: 'a rule that denies takes nothing of the others',
    async run(store) {
      const counters = open(store, [
        rate(10, hour, 'client'),
        quota(2, 'hour', 'tenant'),
        rate(10, hour, 'all'),
      ]);
      const allowed: boolean[] = [];
      for (const client of ['a', 'b', 'c', 'd'])
        allowed.push((await take(counters, [client, 'tenant', 'all'])).allowed);
      assert.deepEqual(allowed, [true, true, false, false]);
      const looked = await take(counters, ['c', 'tenant', 'all'], 0);
      assert.deepEqual([usedOf(looked, 0), usedOf(looked, 1), usedOf(looked, 2)], [0, 2, 2]);
    },
  },
  {
    name: 'a rule without a key is left out',
    async run(store) {
      const counters = open(store, [rate(1, hour, 'a'), quota(2, 'hour', 'b')]);
      assert.equal((await take(counters, [undefined, 'k'])).allowed, true);
      const both = await take(counters, ['k', 'k']);
      assert.deepEqual([both.allowed, usedOf(both, 0), usedOf(both, 1)], [true, 1, 2]);
      const none = await take(counters, ['k', undefined]);
      assert.deepEqual([none.allowed, none.levels[1]], [false, undefined]);
      assert.equal((await take(counters, [undefined, undefined])).allowed, true);
    },
  },
  {
    name: 'of 64 callers at once no more pass than there are points',
    async run(store) {
      for (const rules of [
        [rate(10, hour)],
        [quota(10, 'hour')],
        [rate(10, hour, 'a'), quota(12, 'hour', 'b')],
      ]) {
        const counters = open(store, rules);
        const keys = rules.map(() => 'k');
        const decisions = await Promise.all(Array.from({ length: 64 }, () => take(counters, keys)));
        assert.equal(decisions.filter(({ allowed }) => allowed).length, 10);
      }
    },
  },
  {
    name: 'callers that name their keys in another order do not wait for each other',
    async run(store) {
      const counters = open(store, [rate(100, hour, 'a'), rate(100, hour, 'b')]);
      const turned = ['x', 'y', 'z'].flatMap((one) => ['x', 'y', 'z'].map((other) => [one, other]));
      const decisions = await Promise.all(
        Array.from({ length: 8 }, () => turned.map((keys) => take(counters, keys))).flat(),
      );
      assert.equal(decisions.filter(({ allowed }) => allowed).length, 72);
      assert.equal(usedOf(await take(counters, ['x', 'y'], 0)), 24);
    },
  },
  {
    name: 'points of a rate come back, also in less than a second, and no faster than they may',
    async run(store) {
      const [capacity, intervalMs] = [3, 40];
      const counters = open(store, [rate(capacity, intervalMs)]);
      const startedMs = performance.now();
      let passed = 0;
      while (passed < 10) {
        if ((await take(counters, ['k'])).allowed) passed += 1;
        const elapsedMs = performance.now() - startedMs;
        assert.ok(passed <= capacity + elapsedMs / intervalMs + 0.1, `${passed} in ${elapsedMs} ms`);
        assert.ok(elapsedMs < 20_000, `only ${passed} in ${elapsedMs} ms`);
      }
    },
  },
  {
    name: 'a window ends, and the next one has its full limit',
    async run(store) {
      const counters = open(store, [quota(2, 'second')]);
      const startedMs = performance.now();
      let full = 0;
      while (full < 3) {
        const decision = await take(counters, ['k'], 2);
        const elapsedMs = performance.now() - startedMs;
        const resetMs = decision.levels[0]?.resetMs ?? Number.NaN;
        assert.ok(resetMs >= 0 && resetMs <= 1_000, `reset in ${resetMs}`);
        if (decision.allowed) {
          assert.equal(usedOf(decision), 2);
          full += 1;
        }
        assert.ok(full <= elapsedMs / 1_000 + 2, `${full} windows in ${elapsedMs} ms`);
        assert.ok(elapsedMs < 20_000, 'no window has ended');
      }
    },
  },
  {
    name: 'reset gives all points of a key back, and of no other',
    async run(store) {
      const counters = open(store, [rate(1, hour, 'a'), quota(1, 'hour', 'b')]);
      for (const key of ['k', 'other']) await take(counters, [key, key]);
      await counters.reset(['k', 'k']);
      await counters.reset([undefined, 'never seen']);
      assert.equal((await take(counters, ['k', 'k'])).allowed, true);
      assert.equal((await take(counters, ['other', 'other'])).allowed, false);
    },
  },
  {
    name: 'keys may be anything a client sends',
    async run(store) {
      const counters = open(store, [rate(1, hour)]);
      const long = 'x'.repeat(100_000);
      const keys = [
        '',
        ' ',
        '\0',
        '\ud800',
        '{a}b',
        '}{',
        "'; drop table --",
        '1:2',
        'ü',
        long,
        `${long}y`,
        '*',
        '__proto__',
      ];
      for (const key of keys)
        assert.deepEqual(await takeMany(counters, key, 2), [true, false], JSON.stringify(key.slice(0, 20)));
    },
  },
  {
    name: 'limits of other names, and rules of other names, have other counters',
    async run(store) {
      const name = randomUUID();
      const counters = open(store, [rate(1, hour, 'a'), rate(1, hour, 'b')], name);
      assert.equal((await take(counters, ['k', undefined])).allowed, true);
      assert.equal((await take(counters, [undefined, 'k'])).allowed, true);
      assert.equal((await take(open(store, [rate(1, hour, 'a')]), ['k'])).allowed, true);
    },
  },
];

/** What a store outside the process must do besides. */
export const sharedStoreSuite: readonly StoreCase[] = [
  {
    name: 'two openings of one name share their counters',
    async run(store) {
      const name = randomUUID();
      const rules = [rate(10, hour)];
      const [one, other] = [open(store, rules, name), open(store, rules, name)];
      const decisions = await Promise.all(
        Array.from({ length: 32 }, () => [take(one, ['k']), take(other, ['k'])]).flat(),
      );
      assert.equal(decisions.filter(({ allowed }) => allowed).length, 10);
    },
  },
  {
    name: 'a limit that is lowered holds at once, and nobody waits for the old one',
    async run(store) {
      const name = randomUUID();
      await take(open(store, [rate(1_000, hour)], name), ['k'], 1_000);
      const lowered = open(store, [rate(2, 100)], name);
      const { allowed, levels } = await take(lowered, ['k']);
      assert.equal(allowed, false);
      assert.ok((levels[0]?.resetMs ?? Infinity) <= 200, `reset in ${levels[0]?.resetMs}`);
      const startedMs = performance.now();
      while (!(await take(lowered, ['k'])).allowed)
        assert.ok(performance.now() - startedMs < 20_000, 'it is still full of the old one');
    },
  },
];
