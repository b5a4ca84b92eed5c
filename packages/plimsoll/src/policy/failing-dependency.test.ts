import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { breakerDefaults } from '../breaker/options.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { retryBudgetDefaults } from '../retry/budget.ts';
import { createPolicy, type PolicyOptions, type PolicyState } from './index.ts';

/** The time that the faked timers keep. */
const clock: Clock = {
  ...systemClock,
  now: () => Date.now(),
  monotonicMs: () => Date.now(),
  sleep: (ms) =>
    new Promise((resolve) => {
      setTimeout(resolve, ms);
    }),
};
beforeEach(() => void vi.useFakeTimers({ now: 0, toFake: ['setTimeout', 'clearTimeout', 'Date'] }));
afterEach(() => void vi.useRealTimers());

/** Mulberry32; the same numbers in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const arrivals = 10_000;
const everyMs = 10;
const workMs = 20;
const { minPerSecond } = retryBudgetDefaults;

interface Day {
  /** Of the dependency, in the order they came, with who called. */
  readonly calls: readonly { readonly arrival: number; readonly atMs: number }[];
  readonly succeeded: number;
  /** How many arrivals ended with each code, or with the dependency's own error. */
  readonly failed: Readonly<Record<string, number>>;
  readonly state: PolicyState;
}

/** 10,000 arrivals in 100 s, at a dependency that fails each call with a chance of one half. */
async function dayOf(options: Partial<PolicyOptions>, headers: Record<string, string> = {}): Promise<Day> {
  const policy = createPolicy({ name: 'bank', clock, random: seeded(2), ...options });
  const chance = seeded(1);
  const calls: { arrival: number; atMs: number }[] = [];
  const failed: Record<string, number> = {};
  let succeeded = 0;
  const arrive = async (arrival: number): Promise<void> => {
    try {
      await policy.run(
        async () => {
          calls.push({ arrival, atMs: Date.now() });
          await clock.sleep(workMs);
          if (chance() < 0.5) throw Object.assign(new Error('unavailable'), { statusCode: 503, headers });
        },
        { safe: true },
      );
      succeeded += 1;
    } catch (error) {
      const code = isPlimsollError(error) ? error.code : 'unavailable';
      failed[code] = (failed[code] ?? 0) + 1;
    }
  };
  const running: Promise<void>[] = [];
  for (let arrival = 0; arrival < arrivals; arrival += 1) {
    running.push(arrive(arrival));
    await vi.advanceTimersByTimeAsync(everyMs);
  }
  await vi.advanceTimersByTimeAsync(60_000);
  await Promise.all(running);
  return { calls, succeeded, failed, state: policy.state() };
}

/** A tenth more than have arrived, at each call; at 100 a second the floor adds only what it holds at the start. */
function expectWithinBudget({ calls }: Day): void {
  const lastArrivalAtMs = (arrivals - 1) * everyMs;
  for (const [index, { atMs }] of calls.entries()) {
    // Once nobody arrives any more, the floor is more than a tenth.
    const tailMs = Math.max(0, atMs - lastArrivalAtMs);
    const arrived = Math.min(arrivals, Math.floor(atMs / everyMs) + 1);
    const floor = minPerSecond * (1 + tailMs / 1_000);
    if (index + 1 > arrived * 1.1 + floor)
      expect.fail(`call ${index + 1} of ${arrived} arrivals, at ${atMs}`);
  }
}

/** Who was asked to come again after two seconds has not come before. */
function expectLeftAlone({ calls }: Day, askedMs: number): void {
  const lastAtMs = new Map<number, number>();
  for (const { arrival, atMs } of calls) {
    const before = lastAtMs.get(arrival);
    if (before !== undefined) expect(atMs - before).toBeGreaterThanOrEqual(workMs + askedMs);
    lastAtMs.set(arrival, atMs);
  }
}

const asks = { 'retry-after': '2' };

for (const [how, headers, askedMs] of [
  ['', {}, 0],
  [', also when it answers 503 and Retry-After', asks, 2_000],
] as const) {
  test(`a dependency at 50 % errors gets at most 1.1 calls for each arrival${how}`, async () => {
    const day = await dayOf({ breaker: false }, headers);
    const { calls, succeeded, failed, state } = day;
    expectWithinBudget(day);
    expectLeftAlone(day, askedMs);
    expect(calls.length).toBe(arrivals + state.retry!.budget.spent);
    // All that the budget has is used, and helps half of those who get it.
    expect(calls.length).toBeGreaterThan(arrivals * 1.09);
    expect(succeeded / arrivals).toBeGreaterThan(0.53);
    expect(succeeded / arrivals).toBeLessThan(0.57);
    expect(failed).toEqual({ unavailable: arrivals - succeeded });
  });

  test(`with a breaker it gets far fewer, and is asked again after every break${how}`, async () => {
    const day = await dayOf({}, headers);
    const { calls, succeeded, failed, state } = day;
    expectWithinBudget(day);
    expectLeftAlone(day, askedMs);
    expect(calls.length).toBeLessThan(arrivals / 10);
    expect(state.breaker!.opened).toBeGreaterThan(5);
    // Of what reaches it, as much succeeds as ever, and nobody is left without an answer.
    expect(succeeded / calls.length).toBeGreaterThan(0.45);
    expect(succeeded / calls.length).toBeLessThan(0.55);
    const { unavailable = 0, PL_BREAKER_OPEN: refused = 0, ...others } = failed;
    expect(others).toEqual({});
    expect(succeeded + unavailable + refused).toBe(arrivals);
    const gaps = calls.map(({ atMs }, index) => atMs - (calls[index - 1]?.atMs ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(breakerDefaults.maxBreakMs + workMs + everyMs);
  });
}
