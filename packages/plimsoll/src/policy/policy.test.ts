import { AsyncLocalStorage } from 'node:async_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Cancellation } from '../kernel/cancellation.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, currentContext, runInContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import type { Attempt } from '../kernel/guard.ts';
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
    breaker: { slowCallMs: 50, slowRatio: 1, minimumCalls: 2 },
  });
  const { promise: held, resolve } = Promise.withResolvers<void>();
  const hanging = outcome(policy.run(() => held));
  const waited = policy.run(async () => 'made');
  await vi.advanceTimersByTimeAsync(90);
  resolve();
  expect(await waited).toBe('made');
  await hanging;
  expect(policy.state().breaker).toMatchObject({ state: 'closed', calls: 2, slow: 1 });
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

test('an attempt whose guard around it has given up is not begun, and counts nowhere', async () => {
  const policy = policyOf({ retry: false, breaker: { consecutiveFailures: 1 }, bulkhead: { max: 1 } });
  const work = vi.fn<() => Promise<string>>();
  const { promise: held, resolve } = Promise.withResolvers<void>();
  const around = { signal: new AbortController().signal, number: 2, deadlineAtMs: Date.now() + 50 };
  const first = policy.run(() => held);
  const waits = outcome(policy.run(work, { within: around }));
  await vi.advanceTimersByTimeAsync(60);
  resolve();
  await first;
  expect(await waits).toBe('PL_DEADLINE');
  expect(await outcome(policy.run(work, { within: around }))).toBe('PL_DEADLINE');
  expect(work).not.toHaveBeenCalled();
  expect(policy.state()).toMatchObject({
    breaker: { state: 'closed', failures: 0 },
    bulkhead: { active: 0 },
  });
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

test('a policy inside the work does not repeat across awaits either, but beside it and after it does', async () => {
  // Each with a budget of its own.
  const layer = (): Policy =>
    policyOf({ retry: { safe: true, attempts: 3, baseMs: 0, maxMs: 0 }, breaker: false });
  const calls = { inside: 0, beside: 0, after: 0 };
  const fail = (where: keyof typeof calls) => async () => {
    calls[where] += 1;
    throw Object.assign(new Error('down'), { statusCode: 503 });
  };
  let after: Promise<unknown> | undefined;
  async function scene(): Promise<void> {
    const inner = layer();
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    const around = outcome(
      layer().run(async () => {
        after ??= over.then(() => outcome(layer().run(fail('after'))));
        await nextTurn();
        await inner.run(fail('inside'));
      }),
    );
    await outcome(layer().run(fail('beside')));
    await around;
    end();
    await after;
  }
  for (const context of [undefined, createContext(), createContext({ deadlineAtMs: Date.now() + 10_000 })]) {
    Object.assign(calls, { inside: 0, beside: 0, after: 0 });
    after = undefined;
    await (context === undefined ? scene() : runInContext(context, scene));
    expect(calls).toEqual({ inside: 3, beside: 3, after: 3 });
  }
});

test('a context that is entered inside of an attempt is inside of it too', async () => {
  const outer = policyOf({ retry: { safe: true, attempts: 2, baseMs: 0, maxMs: 0 } });
  const inner = policyOf({ retry: { safe: true, attempts: 2, baseMs: 0, maxMs: 0 } });
  const seen: unknown[] = [];
  const work = async (): Promise<void> => {
    await nextTurn();
    seen.push(currentContext()?.correlationId);
    throw Object.assign(new Error('down'), { statusCode: 503 });
  };
  await runInContext(createContext({ correlationId: 'above' }), async () => {
    const called = outer.run(() =>
      runInContext(createContext({ correlationId: 'below' }), () => inner.run(work)),
    );
    await outcome(called);
    expect(currentContext()?.correlationId).toBe('above');
  });
  expect(seen).toEqual(['below', 'below']);
});

test('what throws at once or returns no promise gives its permit back', async () => {
  const policy = policyOf({ bulkhead: { max: 1, maxWaiting: 0 } });
  const wrong = new Error('thrown');
  for (let call = 0; call < 3; call += 1) {
    const thrown = policy.run(() => {
      throw wrong;
    });
    await expect(thrown).rejects.toBe(wrong);
    expect(await policy.run((() => 7) as unknown as () => Promise<number>)).toBe(7);
  }
  expect(policy.state()).toMatchObject({
    bulkhead: { active: 0 },
    timeout: { inFlight: 0 },
    breaker: { failures: 3 },
  });
});

test('the signal of an attempt aborts when its time is up, and is read as aborted afterwards too', async () => {
  const policy = policyOf({ retry: false, timeout: { ms: 50 } });
  const attempts: Attempt[] = [];
  const hang = (attempt: Attempt): Promise<never> => {
    attempts.push(attempt);
    return new Promise(() => undefined);
  };
  const reads = outcome(
    policy.run((attempt) => {
      expect(attempt.signal.aborted).toBe(false);
      return hang(attempt);
    }),
  );
  const reads0 = outcome(policy.run(hang));
  await vi.advanceTimersByTimeAsync(51);
  expect([await reads, await reads0]).toEqual(['PL_TIMEOUT', 'PL_TIMEOUT']);
  expect(attempts.map(({ signal }) => codeOf(signal.reason))).toEqual(['PL_TIMEOUT', 'PL_TIMEOUT']);
  let ended: Attempt | undefined;
  await policy.run(async (attempt) => void (ended = attempt));
  await vi.advanceTimersByTimeAsync(100);
  expect(ended!.signal.aborted).toBe(false);
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

for (const ambient of [true, false])
  test(`what timed out is made again where it was called, not where the timer was set (ambient: ${ambient})`, async () => {
    const policy = policyOf({
      retry: { safe: true, attempts: 2, baseMs: 0, maxMs: 0, ambient },
      timeout: { ms: 100 },
    });
    const tracing = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const ask = (who: string, deadlineAtMs = Infinity): Promise<unknown> =>
      tracing.run(who, () =>
        runInContext(createContext({ correlationId: who, deadlineAtMs }), () =>
          outcome(
            policy.run(() => {
              seen.push([who, currentContext()?.correlationId, tracing.getStore()]);
              return new Promise(() => undefined);
            }),
          ),
        ),
      );
    const calls = [ask('one', Date.now() + 90), ask('two')];
    for (let turn = 0; turn < 4; turn += 1) await vi.advanceTimersByTimeAsync(100);
    expect(await Promise.all(calls)).toEqual(['PL_DEADLINE', 'PL_TIMEOUT']);
    expect(seen).toEqual([
      ['one', 'one', 'one'],
      ['two', 'two', 'two'],
      ['two', 'two', 'two'],
    ]);
  });
