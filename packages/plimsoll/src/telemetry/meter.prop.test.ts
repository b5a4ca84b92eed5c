import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KeyedDurations, RecentDurations, type Percentiles } from './meter.ts';

const duration = fc.oneof(
  fc.double({ min: 0.001, max: 1, noNaN: true }),
  fc.double({ min: 1, max: 1_000, noNaN: true }),
  fc.double({ min: 1_000, max: 3_000_000, noNaN: true }),
);
const durations = fc.array(duration, { minLength: 1, maxLength: 300 });

/** The value at the nearest rank. */
function exactPercentile(values: readonly number[], percentile: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(1, Math.round((percentile / 100) * sorted.length)) - 1]!;
}

/** At most 1/32 too high and never too low, on a grid of microseconds. */
function expectClose(measured: number, exact: number, what: string): void {
  const difference = measured - exact;
  expect(difference, `${what}: ${measured} for ${exact}`).toBeLessThanOrEqual(exact / 32 + 0.001);
  expect(difference, `${what}: ${measured} for ${exact}`).toBeGreaterThanOrEqual(-0.001);
}

function expectPercentiles(measured: Percentiles, values: readonly number[]): void {
  expect(measured.count).toBe(values.length);
  expectClose(measured.p50Ms, exactPercentile(values, 50), 'p50');
  expectClose(measured.p95Ms, exactPercentile(values, 95), 'p95');
  expectClose(measured.p99Ms, exactPercentile(values, 99), 'p99');
  expectClose(measured.maxMs, Math.max(...values), 'max');
}

describe('keyed durations', () => {
  test('percentiles agree with the exact ones', () => {
    fc.assert(
      fc.property(durations, (values) => {
        const meter = new KeyedDurations<{ route: string }>(10);
        for (const value of values) meter.record('a', '', value, () => ({ route: '/a' }));
        const [series] = meter.snapshot();
        expect(series?.route).toBe('/a');
        expectPercentiles(series!, values);
      }),
    );
  });

  test('however many keys come, the number of series is bounded and every duration is counted', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.nat(20), { minLength: 1, maxLength: 100 }),
        (maxKeys, ids) => {
          const meter = new KeyedDurations<{ id: string; server: string }>(maxKeys);
          for (const id of ids)
            meter.record(String(id % 3), String(id), 1, () => ({ id: String(id), server: 'primary' }));
          const snapshot = meter.snapshot();
          expect(snapshot.length).toBeLessThanOrEqual(maxKeys + 1);
          expect(snapshot.reduce((sum, { count }) => sum + count, 0)).toBe(ids.length);
          // First come, first kept; the rest is told apart no more.
          const kept = [...new Set(ids)].slice(0, maxKeys).map(String);
          const named = snapshot.filter(({ id }) => id !== '(other)');
          expect(named.map(({ id }) => id)).toEqual(kept);
          for (const { id, count } of named)
            expect(count).toBe(ids.filter((each) => String(each) === id).length);
          const other = snapshot.find(({ id }) => id === '(other)');
          expect(other?.server).toBe(new Set(ids).size > maxKeys ? '(other)' : undefined);
        },
      ),
    );
  });
});

describe('recent durations', () => {
  test('a window holds what was recorded in its seconds and nothing older', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ gapMs: fc.nat(20_000), ms: duration }), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 59_000 }),
        fc.nat(30_000),
        (events, lastMs, laterMs) => {
          const meter = new RecentDurations();
          let nowMs = 5_000_000;
          const recorded = events.map(({ gapMs, ms }) => {
            nowMs += gapMs;
            meter.record(ms, nowMs);
            return { atMs: nowMs, ms };
          });
          nowMs += laterMs;
          // The first second counts whole.
          const from = Math.floor((nowMs - lastMs) / 1_000) * 1_000;
          const inside = recorded.filter(({ atMs }) => atMs >= from).map(({ ms }) => ms);
          const measured = meter.window(lastMs, nowMs);
          if (inside.length === 0)
            expect(measured).toEqual({ count: 0, p50Ms: 0, p95Ms: 0, p99Ms: 0, maxMs: 0 });
          else expectPercentiles(measured, inside);
        },
      ),
    );
  });

  test('a window longer than the minute that is kept gives what is kept', () => {
    const meter = new RecentDurations();
    meter.record(1, 1_000_000);
    meter.record(2, 1_000_000 + 59_000);
    expect(meter.window(3_600_000, 1_000_000 + 59_000).count).toBe(2);
    meter.record(3, 1_000_000 + 60_000);
    expect(meter.window(3_600_000, 1_000_000 + 60_000).count).toBe(2);
    expect(meter.window(1_000, 1_000_000 + 3_600_000).count).toBe(0);
  });
});

test('durations that are none are recorded within the range instead of throwing', () => {
  const meter = new KeyedDurations<{ route: string }>(1);
  for (const odd of [0, -5, 1e-9, 1e12]) meter.record('a', '', odd, () => ({ route: '/a' }));
  const [series] = meter.snapshot();
  expect(series?.count).toBe(4);
  expect(series?.p50Ms).toBeCloseTo(0.001);
  expect(series?.maxMs).toBeCloseTo((2 ** 32 - 1) / 1_000);
});
