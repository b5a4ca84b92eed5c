import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Durations } from './durations.ts';

test('a percentile is that of the last 128, or of those a few before', () => {
  const durations = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { maxLength: 400, size: 'max' });
  fc.assert(
    fc.property(durations, fc.constantFrom(0.01, 0.5, 0.95, 1), (given, ratio) => {
      const seen = new Durations();
      expect(seen.percentileMs(ratio)).toBe(0);
      const exact: number[] = [];
      for (const [index, ms] of given.entries()) {
        seen.record(ms);
        const sorted = given.slice(Math.max(0, index - 127), index + 1).toSorted((a, b) => a - b);
        exact.push(sorted[Math.ceil(ratio * sorted.length) - 1]!);
        const lag = Math.min(63, Math.ceil(index / 4));
        expect(exact.slice(-1 - lag)).toContain(seen.percentileMs(ratio));
      }
      expect(seen.count).toBe(given.length);
    }),
  );
});
