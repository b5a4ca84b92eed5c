import fc from 'fast-check';
import { expect, test } from 'vitest';
import { backoffMs } from './backoff.ts';

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
