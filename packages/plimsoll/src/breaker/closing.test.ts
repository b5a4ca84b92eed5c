import { expect, test } from 'vitest';
import { admitted, bankBreaker, error, fail, opened, recovered, succeed } from './fixtures/bank-breaker.ts';

test('after closing, 10, 25, 50, then 100 of a hundred that come at once are admitted', () => {
  const { breaker, time } = recovered({ rampMs: 3_000 });
  // One more at the start: it is alone.
  expect(admitted(breaker, 100)).toBe(11);
  expect(breaker.state().admitted).toBe(0.1);
  time.ms += 1_000;
  expect(admitted(breaker, 100)).toBe(25);
  time.ms += 1_000;
  expect(admitted(breaker, 100)).toBe(50);
  time.ms += 999;
  expect(breaker.state().admitted).toBe(0.5);
  time.ms += 1;
  expect(breaker.state().admitted).toBe(1);
  expect(admitted(breaker, 100)).toBe(100);
});

test('calls one at a time are all admitted after closing: they are no rush', () => {
  const { breaker } = recovered();
  for (let call = 0; call < 50; call += 1) succeed(breaker);
  expect(breaker.state()).toMatchObject({ calls: 50, refused: 0, admitted: 0.1 });
});

test('opens for longer when it fails in the ramp, and for the first length after it', () => {
  for (const [afterMs, breakMs] of [
    [2_999, 2_000],
    [3_000, 1_000],
  ] as const) {
    const { breaker, time } = recovered({ rampMs: 3_000 });
    time.ms += afterMs;
    fail(breaker);
    expect(breaker.state().retryAfterMs).toBe(breakMs);
  }
});

test('without a ramp all are admitted at once', () => {
  const { breaker } = recovered({ rampMs: 0 });
  expect(admitted(breaker, 100)).toBe(100);
});

test('tripped by hand it stays open until reset, which admits all and forgets what was counted', () => {
  const { breaker, time } = bankBreaker({ minimumCalls: 3 });
  fail(breaker, 2);
  const late = breaker.acquire();
  breaker.trip('the bank asked us to');
  breaker.trip('again');
  time.ms += 1_000_000;
  expect(admitted(breaker, 10)).toBe(0);
  expect(breaker.state()).toMatchObject({
    state: 'open',
    tripped: true,
    reason: 'tripped by hand: the bank asked us to',
    opened: 1,
  });
  breaker.reset();
  late.fail(error);
  expect(breaker.state()).toMatchObject({ state: 'closed', tripped: false, calls: 0, admitted: 1 });
  expect(admitted(breaker, 10)).toBe(10);
});

test('reset closes it when it is open or half-open, and empties it when it is closed', () => {
  const { breaker, time } = opened();
  breaker.reset();
  expect(breaker.state().state).toBe('closed');
  fail(breaker);
  time.ms += 1_000;
  const probe = breaker.acquire();
  breaker.reset();
  probe.fail(error);
  expect(breaker.state().state).toBe('closed');
  succeed(breaker, 3);
  breaker.reset();
  expect(breaker.state()).toMatchObject({ state: 'closed', calls: 0 });

  const { breaker: ramping } = recovered();
  ramping.reset();
  expect(admitted(ramping, 100)).toBe(100);
});
