import fc from 'fast-check';
import { expect, test } from 'vitest';
import { nextSize, partitionDefaults } from './partitions.ts';

const { least, most, growth } = partitionDefaults;

test('whatever the rate was, a partition stays between its bounds and grows at most fourfold', () => {
  const filling = fc.record({
    size: fc.integer({ min: least, max: most }),
    given: fc.integer({ min: 0, max: most }),
    tookMs: fc.integer({ min: 0, max: 1_000 * 86_400_000 }),
  });
  fc.assert(
    fc.property(filling, fc.integer({ min: 1, max: 90 * 86_400_000 }), (given, partitionMs) => {
      const size = nextSize(given, partitionMs);
      expect(Number.isInteger(size)).toBe(true);
      expect(size).toBeGreaterThanOrEqual(least);
      expect(size).toBeLessThanOrEqual(most);
      expect(size).toBeLessThanOrEqual(given.size * growth);
    }),
  );
});

test('at a steady rate partitions come to last as long as they should', () => {
  const perMs = fc.double({ min: 0.001, max: 1, noNaN: true });
  fc.assert(
    fc.property(perMs, fc.integer({ min: 3_600_000, max: 30 * 86_400_000 }), (rate, partitionMs) => {
      const wanted = Math.min(most, Math.max(least, rate * partitionMs));
      let size = nextSize(undefined, partitionMs);
      for (let turn = 0; turn < 8; turn += 1)
        size = nextSize({ size, given: size, tookMs: size / rate }, partitionMs);
      expect(Math.abs(size - wanted)).toBeLessThanOrEqual(1 + wanted * 1e-6);
    }),
  );
});
