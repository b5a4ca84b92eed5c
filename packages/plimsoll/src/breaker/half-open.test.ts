import { expect, test, vi } from 'vitest';
import {
  admitted,
  bankBreaker,
  cancelled,
  error,
  fail,
  notFound,
  opened,
  refused,
  succeed,
} from './fixtures/bank-breaker.ts';

test('of 1,000 that arrive half-open exactly one is called, and the rest are refused at once', async () => {
  const { breaker, time } = opened();
  time.ms += 1_000;
  const { promise, resolve } = Promise.withResolvers<string>();
  let calls = 0;
  const answers = Array.from({ length: 1_000 }, () =>
    breaker.run(() => {
      calls += 1;
      return promise;
    }),
  );
  const rejected = await Promise.allSettled(answers.slice(1));
  expect(rejected.every(({ status }) => status === 'rejected')).toBe(true);
  expect(calls).toBe(1);
  expect(breaker.state()).toMatchObject({ state: 'half-open', refused: 999 });
  resolve('well');
  await expect(answers[0]).resolves.toBe('well');
  expect(calls).toBe(1);
  expect(breaker.state()).toMatchObject({ state: 'closed', reason: 'the probe succeeded' });
});

test('goes half-open only when a call comes after the break, and by no timer', () => {
  const timers = vi.spyOn(globalThis, 'setTimeout');
  const { breaker, time } = opened();
  time.ms += 999;
  expect(admitted(breaker, 3)).toBe(0);
  expect(breaker.state()).toMatchObject({ state: 'open', retryAfterMs: 1 });
  time.ms += 1_000_000;
  expect(breaker.state()).toMatchObject({ state: 'open', retryAfterMs: 0 });
  expect(admitted(breaker, 3)).toBe(1);
  expect(timers).not.toHaveBeenCalled();
  timers.mockRestore();
});

test('breaks double up to the longest, and half of each is random', () => {
  for (const [random, part] of [
    [1, 1],
    [0.5, 0.75],
    [0, 0.5],
  ] as const) {
    const { breaker, time } = opened({ random: () => random, maxBreakMs: 5_000 });
    const breaks: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const { retryAfterMs } = breaker.state();
      breaks.push(retryAfterMs / part);
      time.ms += retryAfterMs;
      fail(breaker);
    }
    expect(breaks).toEqual([1_000, 2_000, 4_000, 5_000, 5_000]);
  }
});

test('a call that began before it opened and fails late does not open it again', () => {
  const { breaker, time } = bankBreaker({ consecutiveFailures: 1, rampMs: 0 });
  const [late, later] = [breaker.acquire(), breaker.acquire()];
  fail(breaker);
  time.ms += 1_000;
  const probe = breaker.acquire();
  late.fail(error);
  expect(breaker.state().state).toBe('half-open');
  probe.succeed();
  later.fail(error);
  expect(breaker.state()).toMatchObject({ state: 'closed', calls: 0, opened: 1 });
});

test('a call that began before it opened and succeeds late does not close it', () => {
  const { breaker, time } = bankBreaker({ consecutiveFailures: 1 });
  const [late, later] = [breaker.acquire(), breaker.acquire()];
  fail(breaker);
  late.succeed();
  expect(breaker.state().state).toBe('open');
  time.ms += 1_000;
  breaker.acquire();
  later.succeed();
  expect(breaker.state().state).toBe('half-open');
});

test('a probe that never ends is given up, and its late success does not close', () => {
  const { breaker, time } = opened({ probeMaxMs: 4_000 });
  time.ms += 1_000;
  const stuck = breaker.acquire();
  time.ms += 3_999;
  expect(admitted(breaker, 2)).toBe(0);
  expect(breaker.state().state).toBe('half-open');
  time.ms += 1;
  expect(admitted(breaker, 2)).toBe(0);
  expect(breaker.state()).toMatchObject({
    state: 'open',
    reason: 'a probe had not ended after 4000 ms',
    retryAfterMs: 2_000,
  });
  stuck.succeed();
  expect(breaker.state().state).toBe('open');
  time.ms += 2_000;
  succeed(breaker);
  expect(breaker.state().state).toBe('closed');
});

test('m of n probes close it, and it opens as soon as m are out of reach', () => {
  const { breaker, time } = opened({ probes: 4, probeSuccesses: 2 });
  time.ms += 1_000;
  const probes = [breaker.acquire(), breaker.acquire(), breaker.acquire(), breaker.acquire()];
  expect(admitted(breaker, 10)).toBe(0);
  probes[0]!.fail(error);
  probes[1]!.fail(error);
  expect(breaker.state().state).toBe('half-open');
  probes[2]!.fail(error);
  expect(breaker.state()).toMatchObject({ state: 'open', reason: '3 of 4 probes failed' });
  probes[3]!.succeed();
  expect(breaker.state().state).toBe('open');
  time.ms += 2_000;
  fail(breaker);
  succeed(breaker);
  expect(breaker.state().state).toBe('half-open');
  succeed(breaker);
  expect(breaker.state()).toMatchObject({ state: 'closed', reason: '2 of 4 probes succeeded' });
});

test('a slow probe has failed', () => {
  const { breaker, time } = opened({ slowCallMs: 100 });
  time.ms += 1_000;
  succeed(breaker, 1, 100);
  expect(breaker.state()).toMatchObject({ state: 'open', reason: 'the probe took 100 ms or longer' });
});

test('a probe that was cancelled, refused or answered 4xx gives its permit back and decides nothing', async () => {
  const { breaker, time } = opened();
  time.ms += 1_000;
  for (const thrown of [cancelled, refused, notFound]) {
    await expect(breaker.run(() => Promise.reject(thrown))).rejects.toBe(thrown);
    expect(breaker.state().state).toBe('half-open');
  }
  breaker.acquire().drop();
  expect(admitted(breaker, 10)).toBe(1);
});

test('what a permit is told twice counts once', () => {
  const { breaker, time } = opened({ probes: 2 });
  time.ms += 1_000;
  const probe = breaker.acquire();
  probe.succeed();
  probe.succeed();
  expect(breaker.state().state).toBe('half-open');
  const dropped = breaker.acquire();
  dropped.drop();
  dropped.drop();
  probe.drop();
  expect(admitted(breaker, 10)).toBe(1);
});
