import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Cancellation } from '../kernel/cancellation.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { retryBudgetDefaults } from '../retry/index.ts';
import { createPolicy, type Policy, type PolicyOptions } from './index.ts';

/** Timers and time are faked together. */
const clock: Clock = {
  ...systemClock,
  monotonicMs: () => Date.now(),
  now: () => Date.now(),
  sleep: async () => undefined,
};
beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] }));
afterEach(() => void vi.useRealTimers());

const policyOf = (options: Partial<PolicyOptions> = {}): Policy =>
  createPolicy({ name: 'bank', clock, random: () => 0, ...options });
const codeOf = (error: unknown): unknown => (error instanceof PlimsollError ? error.code : error);
const outcome = (call: Promise<unknown>): Promise<unknown> => call.catch(codeOf);

test('a call that succeeds is made once and answered as it is', async () => {
  const policy = policyOf();
  expect(await policy.run(async ({ number }) => `attempt ${number}`, { safe: true })).toBe('attempt 1');
  expect(policy.state()).toMatchObject({
    name: 'bank',
    retry: { calls: 1, retries: 0 },
    breaker: { state: 'closed' },
    bulkhead: { active: 0, max: 50 },
    timeout: { ms: 5_000, inFlight: 0 },
  });
});

test('each attempt is one call to the breaker, takes one permit and has its own time', async () => {
  const bank = createPolicy({
    name: 'bank',
    retry: { attempts: 3 },
    breaker: { minimumCalls: 3, breakMs: 60_000 },
    bulkhead: { max: 2, maxWaiting: 0 },
    timeout: { ms: 100 },
    clock,
    random: () => 0,
  });
  const active: number[] = [];
  const call = outcome(
    bank.run(
      () => {
        active.push(bank.state().bulkhead!.active);
        return new Promise(() => undefined);
      },
      { safe: true },
    ),
  );
  for (let attempt = 0; attempt < 3; attempt += 1) {
    await vi.advanceTimersByTimeAsync(101);
    await nextTurn();
  }
  expect(await call).toBe('PL_TIMEOUT');
  expect(active).toEqual([1, 1, 1]);
  expect(bank.state()).toMatchObject({
    breaker: { state: 'open' },
    bulkhead: { active: 0 },
    timeout: { timedOut: 3 },
  });
  expect(await outcome(bank.run(async () => 'never'))).toBe('PL_BREAKER_OPEN');
});

test('what the bulkhead refuses never counts against the dependency', async () => {
  const policy = policyOf({
    retry: false,
    breaker: { consecutiveFailures: 1 },
    bulkhead: { max: 1, maxWaiting: 0 },
  });
  const { promise: held, resolve } = Promise.withResolvers<void>();
  const first = policy.run(() => held);
  for (let refused = 0; refused < 50; refused += 1)
    expect(await outcome(policy.run(async () => 'never'))).toBe('PL_BULKHEAD_FULL');
  resolve();
  await first;
  expect(policy.state().breaker).toMatchObject({ state: 'closed', failures: 0 });
  expect(await policy.run(async () => 'on')).toBe('on');
});

test('a wait in the bulkhead uses up no time of the attempt', async () => {
  const policy = policyOf({
    retry: false,
    bulkhead: { max: 1, maxWaitMs: 1_000 },
    timeout: { ms: 100 },
    breaker: { slowCallMs: 100, slowRatio: 1, minimumCalls: 1 },
  });
  const { promise: held, resolve } = Promise.withResolvers<void>();
  const hanging = outcome(policy.run(() => held));
  const waited = policy.run(async () => 'made');
  await vi.advanceTimersByTimeAsync(90);
  resolve();
  expect(await waited).toBe('made');
  await hanging;
  expect(policy.state().breaker).toMatchObject({ state: 'closed', slow: 0 });
});

test('work that nobody waits for any more is not begun, and counts nowhere', async () => {
  const policy = policyOf({ breaker: { consecutiveFailures: 1 } });
  const work = vi.fn<() => Promise<string>>();
  const cancellation = new Cancellation();
  cancellation.cancel('closed the tab');
  for (const context of [createContext({ deadlineAtMs: Date.now() - 1 }), createContext({ cancellation })])
    await runInContext(context, () => outcome(policy.run(work, { safe: true })));
  expect(work).not.toHaveBeenCalled();
  expect(policy.state()).toMatchObject({ breaker: { state: 'closed', failures: 0 }, retry: { retries: 0 } });
});

test('a half-open breaker and a thousand arrivals: one call reaches the dependency', async () => {
  const policy = policyOf({
    retry: { attempts: 3 },
    breaker: { consecutiveFailures: 1, breakMs: 10, rampMs: 0 },
  });
  await outcome(policy.run(() => Promise.reject(new Error('down'))));
  await vi.advanceTimersByTimeAsync(20);
  let reached = 0;
  const { promise: answer, resolve } = Promise.withResolvers<string>();
  const arrivals = Array.from({ length: 1_000 }, () =>
    outcome(
      policy.run(() => {
        reached += 1;
        return answer;
      }),
    ),
  );
  await nextTurn();
  expect(reached).toBe(1);
  resolve('up');
  const outcomes = await Promise.all(arrivals);
  expect(outcomes.filter((each) => each === 'up')).toHaveLength(1);
  expect(outcomes.filter((each) => each === 'PL_BREAKER_OPEN')).toHaveLength(999);
});

test('a dependency that fails every other call gets at most a tenth more than arrives, and the floor', async () => {
  const policy = policyOf({
    breaker: false,
    bulkhead: false,
    timeout: false,
    retry: { attempts: 5, baseMs: 0, maxMs: 0 },
  });
  let calls = 0;
  const arrivals = 5_000;
  for (let arrival = 0; arrival < arrivals; arrival += 1) {
    const done = outcome(
      policy.run(
        async () => {
          calls += 1;
          if (calls % 2 === 0) throw Object.assign(new Error('bad gateway'), { statusCode: 502 });
        },
        { safe: true },
      ),
    );
    await vi.advanceTimersByTimeAsync(0);
    await done;
  }
  expect(calls).toBeLessThanOrEqual(arrivals * 1.1 + retryBudgetDefaults.minPerSecond);
  expect(calls).toBeGreaterThan(arrivals);
});

test('a policy inside the work of another one: the inner one does not repeat', async () => {
  const outer = policyOf({ retry: { attempts: 3, baseMs: 0, maxMs: 0 } });
  const inner = policyOf({ retry: { attempts: 3, baseMs: 0, maxMs: 0 } });
  let calls = 0;
  const down = (): Promise<never> => {
    calls += 1;
    return Promise.reject(Object.assign(new Error('down'), { statusCode: 503 }));
  };
  const call = outcome(outer.run(() => inner.run(down, { safe: true }), { safe: true }));
  await vi.advanceTimersByTimeAsync(10);
  await nextTurn();
  await call;
  expect(calls).toBe(3);
});

test('every guard can be left out, and options of all of them are checked', async () => {
  const bare = policyOf({ retry: false, breaker: false, bulkhead: false, timeout: false });
  expect(await bare.run(async () => 1)).toBe(1);
  expect(bare.state()).toEqual({ name: 'bank' });
  for (const wrong of [
    { retry: { attempts: 0 } },
    { breaker: { failureRatio: 2 } },
    { bulkhead: { max: 0 } },
    { timeout: { ms: -1 } },
  ])
    expect(() => policyOf(wrong)).toThrow(expect.objectContaining({ code: 'PL_CONFIG' }));
});
