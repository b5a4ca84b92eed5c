import { expect, test, vi } from 'vitest';
import { breakers, refusals, type BreakerMessage, type RefusalMessage } from '../kernel/channels.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { createBreaker } from './breaker.ts';
import { admitted, error, opened } from './fixtures/bank-breaker.ts';
import type { BreakerOptions } from './options.ts';

test('tells of every transition with the reason, and of every refusal', () => {
  const scope = {};
  const transitions: BreakerMessage[] = [];
  const refusedCalls: RefusalMessage[] = [];
  const stops = [
    breakers.subscribe((message) => void (message.scope === scope && transitions.push(message))),
    refusals.subscribe((message) => void (message.scope === scope && refusedCalls.push(message))),
  ];
  const { breaker, time } = opened({ scope });
  admitted(breaker, 1);
  time.ms += 1_000;
  const probe = breaker.acquire();
  admitted(breaker, 1);
  probe.succeed();
  admitted(breaker, 2);
  breaker.trip('maintenance');
  admitted(breaker, 1);
  breaker.reset();
  breaker.reset();
  for (const stop of stops) stop();
  expect(transitions.map(({ name, from, to, reason }) => [name, from, to, reason])).toEqual([
    ['bank', 'closed', 'open', 'failures in a row: 1'],
    ['bank', 'open', 'half-open', 'the break is over'],
    ['bank', 'half-open', 'closed', 'the probe succeeded'],
    ['bank', 'closed', 'open', 'tripped by hand: maintenance'],
    ['bank', 'open', 'closed', 'reset by hand'],
  ]);
  expect(refusedCalls.map(({ policy, name, reason }) => [policy, name, reason])).toEqual([
    ['breaker', 'bank', 'open'],
    ['breaker', 'bank', 'half-open'],
    ['breaker', 'bank', 'ramp'],
    ['breaker', 'bank', 'tripped'],
  ]);
});

test('whoever listens may trip or reset it', () => {
  const { breaker, time } = opened();
  const stop = breakers.subscribe((message) => {
    if (message.scope === breaker && message.to === 'half-open') breaker.trip('no probes today');
  });
  time.ms += 1_000;
  expect(admitted(breaker, 1)).toBe(0);
  stop();
  expect(breaker.state()).toMatchObject({ state: 'open', tripped: true });
});

test('a refusal says why and for how long, and has the failure that opened it as cause', async () => {
  const { breaker, time } = opened();
  time.ms += 400.5;
  const work = vi.fn<() => Promise<void>>();
  await expect(breaker.run(work)).rejects.toMatchObject({
    code: 'PL_BREAKER_OPEN',
    status: 503,
    retryable: true,
    message: 'the breaker "bank" is open: failures in a row: 1; call again after data.retryAfterMs',
    data: { name: 'bank', retryAfterMs: 600 },
    cause: error,
  });
  expect(work).not.toHaveBeenCalled();
  breaker.trip('maintenance');
  const thrown = await breaker.run(work).catch((refusal: unknown) => refusal);
  expect(thrown).toMatchObject({
    message: 'the breaker "bank" is open, tripped by hand: maintenance; reset() closes it',
    data: { retryAfterMs: 10_000 },
  });
  expect((thrown as Error).cause).toBeUndefined();
});

test('each refusal is an error of its own, without a stack, and others keep theirs', async () => {
  const { breaker } = opened();
  const limit = Error.stackTraceLimit;
  const [one, other] = await Promise.all(
    [1, 2].map(() => breaker.run(async () => 1).catch((refusal: unknown) => refusal as PlimsollError)),
  );
  expect(one).not.toBe(other);
  expect(one).toBeInstanceOf(PlimsollError);
  expect((one as PlimsollError).stack).not.toContain('\n    at ');
  expect(Error.stackTraceLimit).toBe(limit);
  expect(new Error('x').stack).toContain('\n    at ');
});

test('its state is plain JSON', () => {
  const { breaker } = opened();
  const state = breaker.state();
  expect(JSON.parse(JSON.stringify(state))).toEqual(state);
  expect(state).toEqual({
    name: 'bank',
    state: 'open',
    reason: 'failures in a row: 1',
    tripped: false,
    admitted: 0,
    retryAfterMs: 1_000,
    calls: 1,
    failures: 1,
    slow: 0,
    opened: 1,
    refused: 0,
  });
});

test('names every option that is not valid', () => {
  const wrong = {
    name: '',
    windowMs: 0,
    windowCalls: 5,
    minimumCalls: 6,
    failureRatio: 0,
    slowCallMs: -1,
    slowRatio: 1.5,
    consecutiveFailures: 0.5,
    breakMs: 1_000,
    maxBreakMs: 999,
    probes: 2,
    probeSuccesses: 3,
    probeMaxMs: Infinity,
    rampMs: -1,
  };
  const paths = (options: BreakerOptions): unknown => {
    try {
      createBreaker(options);
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: 'PL_CONFIG' });
      return ((thrown as PlimsollError).data['problems'] as { path: string }[])
        .map(({ path }) => path)
        .toSorted();
    }
    return [];
  };
  const valid = ['breakMs', 'probes'];
  expect(paths(wrong)).toEqual(
    Object.keys(wrong)
      .filter((option) => !valid.includes(option))
      .toSorted(),
  );
  expect(paths({ name: 'x', breakMs: Number.NaN, windowMs: Number.NaN })).toEqual(['breakMs', 'windowMs']);
  expect(paths({ name: 'x', windowCalls: 5, breakMs: 60_000 })).toEqual([]);
  expect(paths({ name: 'x', minimumCalls: Infinity, consecutiveFailures: 5, rampMs: 0 })).toEqual([]);
  expect(() => createBreaker({ name: 'bank', failureRatio: 50 })).toThrow(
    'failureRatio: is 50; give a number above 0 and up to 1',
  );
});
