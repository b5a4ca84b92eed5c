import * as fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock, type Clock } from './clock.ts';
import { createContextWatch, type Timed } from './context-watch.ts';

const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };
beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('whatever is added, removed and waited for: each is told once, within a millisecond of its deadline', () => {
  const step = fc.oneof(
    // To beyond one turn of the wheel, and into the past.
    fc.record({ kind: fc.constant('add' as const), inMs: fc.integer({ min: -20, max: 20_000 }) }),
    fc.record({ kind: fc.constant('add' as const), inMs: fc.integer({ min: 0, max: 40 }) }),
    fc.record({ kind: fc.constant('remove' as const), at: fc.nat(60) }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 12_000 }) }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 20 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const watch = createContextWatch(clock);
      const added: { deadlineAtMs: number; removed: boolean; toldAtMs: number[]; stop: () => void }[] = [];
      const check = (): void => {
        for (const { deadlineAtMs, removed, toldAtMs } of added) {
          // Whoever adds in the past is told by the next timer.
          const due = deadlineAtMs < Date.now();
          if (!removed) expect(toldAtMs.length).toBe(due ? 1 : toldAtMs.length);
          expect(toldAtMs.length).toBeLessThanOrEqual(1);
          for (const at of toldAtMs) expect(at).toBeGreaterThanOrEqual(deadlineAtMs);
        }
      };
      for (const given of steps) {
        if (given.kind === 'add') {
          const entry = {
            deadlineAtMs: Date.now() + given.inMs,
            removed: false,
            toldAtMs: [] as number[],
            stop: (): void => undefined,
          };
          const addedAtMs = Date.now();
          const tell = (): void => {
            expect(entry.removed).toBe(false);
            expect(Date.now()).toBeLessThanOrEqual(Math.max(entry.deadlineAtMs, addedAtMs) + 1);
            entry.toldAtMs.push(Date.now());
          };
          entry.stop = watch.watchDeadline(entry.deadlineAtMs, tell);
          added.push(entry);
        } else if (given.kind === 'remove') {
          const entry = added[given.at % Math.max(1, added.length)];
          entry?.stop();
          if (entry !== undefined && entry.toldAtMs.length === 0) entry.removed = true;
        } else {
          vi.advanceTimersByTime(given.ms);
          check();
        }
      }
      vi.advanceTimersByTime(20_002);
      for (const { removed, toldAtMs } of added) expect(toldAtMs).toHaveLength(removed ? 0 : 1);
      watch.close();
      expect(vi.getTimerCount()).toBe(0);
    }),
  );
});

test('who is told may remove others that are due at the same time', () => {
  const watch = createContextWatch(clock);
  const told: string[] = [];
  const at = Date.now() + 10;
  watch.watchDeadline(at, () => {
    told.push('first');
    stopSecond();
  });
  const stopSecond = watch.watchDeadline(at, () => told.push('second'));
  watch.watchDeadline(at, () => told.push('third'));
  vi.advanceTimersByTime(11);
  expect(told).toEqual(['first', 'third']);
  watch.close();
});

test('a deadline that passes does not look at the others, however many are under way', () => {
  const watch = createContextWatch(clock);
  let looks = 0;
  const far = Date.now() + 5_000;
  const entry: Timed = {
    get deadlineAtMs() {
      looks += 1;
      return far;
    },
    onDeadline: () => undefined,
  };
  for (let count = 0; count < 1_000; count += 1) watch.add(entry);
  looks = 0;
  for (let count = 1; count <= 100; count += 1) watch.watchDeadline(Date.now() + count * 10, () => undefined);
  vi.advanceTimersByTime(2_000);
  expect(looks).toBe(0);
  watch.close();
});

test('what is due already when it is added is told by the next timer, also in a slot that is over', () => {
  vi.setSystemTime(1_000_000);
  const watch = createContextWatch(clock);
  const told: number[] = [];
  watch.watchDeadline(Date.now() + 100, () => told.push(1));
  vi.advanceTimersByTime(101);
  watch.watchDeadline(Date.now() - 100, () => told.push(2));
  vi.advanceTimersByTime(1);
  expect(told).toEqual([1, 2]);
  watch.close();
});
