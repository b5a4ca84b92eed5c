import { expect, test } from 'vitest';
import { p95Of, parseTimes, timesDelta } from './operation-times.ts';

const text = (outcome: string, [fast, slow, slower]: readonly number[], sumS: number): string => {
  const labels = `operation="orders.byCustomer",outcome="${outcome}"`;
  return [
    `plimsoll_operation_duration_seconds_bucket{${labels},le="0.0025"} ${fast}`,
    `plimsoll_operation_duration_seconds_bucket{${labels},le="0.05"} ${slow}`,
    `plimsoll_operation_duration_seconds_bucket{${labels},le="+Inf"} ${slower}`,
    `plimsoll_operation_duration_seconds_sum{${labels}} ${sumS}`,
    `plimsoll_operation_duration_seconds_count{${labels}} ${slower}`,
  ].join('\n');
};
const timesOf = (...parts: readonly string[]): NonNullable<ReturnType<typeof read>> => read(parts)!;
const read = (parts: readonly string[]): ReturnType<ReturnType<typeof parseTimes>['get']> =>
  parseTimes(['# HELP …', ...parts, 'other_metric{operation="orders.byCustomer"} 5'].join('\n')).get(
    'orders.byCustomer',
  );

test('outcomes of one operation are added up, and nothing else is read', () => {
  const times = timesOf(text('ok', [10, 90, 100], 2), text('error', [0, 1, 2], 0.5));
  expect(times).toMatchObject({ count: 102, totalMs: 2_500 });
  expect([...times.atMost]).toEqual([
    [2.5, 10],
    [50, 91],
    [Infinity, 102],
  ]);
});

test('only the window counts, and an app that began anew counts from there', () => {
  const then = timesOf(text('ok', [30, 90, 100], 2));
  const now = timesOf(text('ok', [31, 110, 120], 3));
  expect(timesDelta(then, now)).toMatchObject({ count: 20, totalMs: 1_000 });
  // All twenty were at most 50 ms; since the start a tenth was more.
  expect(p95Of(timesDelta(then, now))).toEqual({ aboveMs: 2.5, atMostMs: 50 });
  expect(p95Of(now)).toEqual({ aboveMs: 50, atMostMs: null });
  expect(timesDelta(now, then)).toEqual(then);
});
