import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PlimsollError } from '../kernel/errors.ts';
import { askedMs, backoffMs } from './backoff.ts';

test('a wait is between half of the exponential and all of it, and never above the maximum', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000 }),
      fc.integer({ min: 1, max: 10_000 }),
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (attempt, baseMs, maxMs, chance) => {
        const wait = backoffMs(attempt, { baseMs, maxMs }, () => chance);
        const full = Math.min(maxMs, baseMs * 2 ** (attempt - 1));
        expect(wait).toBeGreaterThanOrEqual(full / 2 - 1e-6);
        expect(wait).toBeLessThanOrEqual(full);
      },
    ),
  );
});

test.each<[unknown, number]>([
  [new PlimsollError('PL_BREAKER_OPEN', 'x', { data: { retryAfterMs: 1_500 } }), 1_500],
  [new PlimsollError('PL_RATE_LIMITED', 'x', { data: { retryAfterMs: 1e12 } }), 300_000],
  [new PlimsollError('PL_BREAKER_OPEN', 'x', { data: { retryAfterMs: Number.NaN } }), 0],
  [new PlimsollError('PL_BREAKER_OPEN', 'x', { data: { retryAfterMs: -5 } }), 0],
  [new PlimsollError('PL_TIMEOUT', 'x'), 0],
  [Object.assign(new Error('not ours'), { data: { retryAfterMs: 9 } }), 0],
  [undefined, 0],
])('%s asks for %i ms', (failure, ms) => {
  expect(askedMs(failure)).toBe(ms);
});
