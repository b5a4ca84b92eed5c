import { expect, test } from 'vitest';
import { background } from '../kernel/channels.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { failureKind } from '../kernel/failure-kind.ts';
import {
  bankBreaker,
  cancelled,
  error,
  fail,
  notFound,
  opened,
  refused,
  succeed,
} from './fixtures/bank-breaker.ts';

test('passes on what the call returns or throws, also when it throws at once', async () => {
  const { breaker } = bankBreaker();
  await expect(breaker.run(async () => 42)).resolves.toBe(42);
  await expect(breaker.run(() => Promise.reject(error))).rejects.toBe(error);
  await expect(
    breaker.run(() => {
      throw error;
    }),
  ).rejects.toBe(error);
  expect(breaker.state()).toMatchObject({ calls: 3, failures: 2 });
});

test('opens when the failure ratio is reached, not below it', () => {
  const { breaker } = bankBreaker({ minimumCalls: 10, failureRatio: 0.6 });
  succeed(breaker, 5);
  fail(breaker, 7);
  expect(breaker.state()).toMatchObject({ state: 'closed', calls: 12, failures: 7 });
  breaker.reset();
  succeed(breaker, 4);
  fail(breaker, 5);
  expect(breaker.state().state).toBe('closed');
  fail(breaker);
  expect(breaker.state()).toMatchObject({ state: 'open', reason: 'failure ratio 0.6 of 10 calls' });
});

test('opens with the minimum of calls and not before, and never on a success', () => {
  const { breaker } = bankBreaker({ minimumCalls: 5 });
  fail(breaker, 4);
  succeed(breaker);
  expect(breaker.state().state).toBe('closed');
  fail(breaker);
  expect(breaker.state().state).toBe('open');
});

test('opens on slow calls though they succeed, and on slow failures', () => {
  const { breaker, time } = bankBreaker({ slowCallMs: 100, minimumCalls: 4, failureRatio: 1 });
  succeed(breaker, 2);
  const permit = breaker.acquire();
  time.ms += 100;
  permit.succeed();
  breaker.acquire().succeed(99);
  expect(breaker.state()).toMatchObject({ state: 'closed', slow: 1 });
  breaker.acquire().fail(error, 100);
  breaker.acquire().succeed(100);
  expect(breaker.state()).toMatchObject({
    state: 'open',
    reason: 'slow-call ratio 0.5 of 6 calls, from 100 ms on',
  });
});

test('opens after failures in a row, however few; a success between them begins anew', () => {
  const { breaker } = bankBreaker({ consecutiveFailures: 3 });
  fail(breaker, 2);
  succeed(breaker);
  fail(breaker, 2);
  expect(breaker.state().state).toBe('closed');
  fail(breaker);
  expect(breaker.state()).toMatchObject({ state: 'open', reason: 'failures in a row: 3' });
});

test('nine failures, five seconds of nothing and one failure do not open it', () => {
  const { breaker, time } = bankBreaker({ windowMs: 1_000, minimumCalls: 10, consecutiveFailures: 10 });
  fail(breaker, 9);
  time.ms += 5_000;
  fail(breaker);
  expect(breaker.state()).toMatchObject({ state: 'closed', calls: 1, failures: 1 });
});

test('forgets each tenth of the window when its time comes, also those in which no call ended', () => {
  const { breaker, time } = bankBreaker({ windowMs: 10_000 });
  const seen: [number, number][] = [];
  for (const failures of [1, 1, 0, 0, 0]) {
    if (failures > 0) fail(breaker);
    else succeed(breaker);
    succeed(breaker);
    time.ms += 2_000;
    const state = breaker.state();
    seen.push([state.calls, state.failures]);
  }
  time.ms += 2_000;
  seen.push([breaker.state().calls, breaker.state().failures]);
  expect(seen).toEqual([
    [2, 1],
    [4, 2],
    [6, 2],
    [8, 2],
    [8, 1],
    [6, 0],
  ]);
  time.ms += 10_000;
  expect(breaker.state().calls).toBe(0);
});

test('the newest calls push out the oldest when the window is of calls, whatever the time', () => {
  const { breaker, time } = bankBreaker({ windowCalls: 5, failureRatio: 1 });
  for (let call = 0; call < 9; call += 1) {
    if (call % 3 === 0) fail(breaker);
    else succeed(breaker);
    time.ms += 1_000_000;
  }
  expect(breaker.state()).toMatchObject({ calls: 5, failures: 1 });
});

test('100,000 calls in the window are counted', () => {
  for (const window of [{ windowMs: 10_000 }, { windowCalls: 100_000 }]) {
    const { breaker } = bankBreaker({ ...window, failureRatio: 0.6 });
    succeed(breaker, 50_000);
    fail(breaker, 50_000);
    expect(breaker.state()).toMatchObject({ state: 'closed', calls: 100_000, failures: 50_000 });
  }
});

test('own cancellations, refusals of other guards and 4xx never count', () => {
  const { breaker } = bankBreaker({ minimumCalls: 1, consecutiveFailures: 1 });
  for (const thrown of [cancelled, refused, notFound, new PlimsollError('PL_BREAKER_OPEN', 'another')])
    fail(breaker, 100, thrown);
  breaker.acquire().drop();
  expect(breaker.state()).toMatchObject({ state: 'closed', calls: 0 });
});

test('classify decides what counts', () => {
  const classify = (thrown: unknown) => (thrown === notFound ? 'failure' : failureKind(thrown));
  const { breaker } = bankBreaker({ consecutiveFailures: 1, classify });
  fail(breaker, 1, cancelled);
  expect(breaker.state().calls).toBe(0);
  fail(breaker, 1, notFound);
  expect(breaker.state().state).toBe('open');
});

test('a classify that throws counts the call as failed, gives the permit back, and is told of', async () => {
  const wrong = new TypeError('classify is wrong');
  const classify = (): never => {
    throw wrong;
  };
  const { breaker, time } = bankBreaker({ consecutiveFailures: 1, classify });
  const told: unknown[] = [];
  const stop = background.subscribe((message) => {
    if (message.scope === breaker) told.push(message.error);
  });
  await expect(breaker.run(() => Promise.reject(error))).rejects.toBe(error);
  stop();
  expect(told).toEqual([wrong]);
  expect(breaker.state().state).toBe('open');
  time.ms += 1_000;
  await expect(breaker.run(() => Promise.reject(error))).rejects.toBe(error);
  expect(breaker.state()).toMatchObject({ state: 'open', opened: 2 });
});

test('two breakers know nothing of each other', () => {
  const { breaker } = opened();
  const { breaker: other } = bankBreaker({ consecutiveFailures: 1 });
  expect(breaker.state().state).toBe('open');
  expect(other.state().state).toBe('closed');
});
