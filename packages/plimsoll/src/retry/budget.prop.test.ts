import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createRetryBudget } from './budget.ts';

test('over any interleaving: never more than the ratio earned and the minimum of the time allow', () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.constant('deposit' as const) },
    { weight: 4, arbitrary: fc.constant('withdraw' as const) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 3_000 }) },
  );
  const options = fc.record({
    ratio: fc.constantFrom(0, 0.1, 0.25, 1),
    minPerSecond: fc.constantFrom(0, 1, 3),
    maxSaved: fc.constantFrom(1, 5, 100),
  });
  fc.assert(
    fc.property(options, fc.array(step, { maxLength: 300 }), (given, steps) => {
      let nowMs = 5_000;
      const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
      const budget = createRetryBudget({ ...given, clock });
      // The model: exact integers, thousandths of a repetition.
      let saved = 0;
      let minimum = given.minPerSecond * 1_000;
      const counts = { deposits: 0, spent: 0, refused: 0 };
      for (const taken of steps) {
        if (taken === 'deposit') {
          budget.deposit();
          counts.deposits += 1;
          saved = Math.min(given.maxSaved * 1_000, saved + given.ratio * 1_000);
        } else if (taken === 'withdraw') {
          const allowed = saved >= 1_000 || minimum >= 1_000;
          expect(budget.withdraw()).toBe(allowed);
          if (!allowed) counts.refused += 1;
          else {
            counts.spent += 1;
            if (saved >= 1_000) saved -= 1_000;
            minimum = Math.max(0, minimum - 1_000);
          }
        } else {
          nowMs += taken;
          minimum = Math.min(given.minPerSecond * 1_000, minimum + taken * given.minPerSecond);
        }
        const seconds = (nowMs - 5_000) / 1_000;
        const allowed = counts.deposits * given.ratio + given.minPerSecond * (seconds + 1);
        expect(counts.spent).toBeLessThanOrEqual(allowed + 1e-6);
        expect(budget.state()).toMatchObject({ spent: counts.spent, refused: counts.refused });
        expect(budget.state().saved).toBeCloseTo(saved / 1_000, 6);
        expect(budget.state().minimumLeft).toBeCloseTo(minimum / 1_000, 6);
      }
    }),
    { numRuns: 300 },
  );
});

test('ten first calls earn one repetition, exactly', () => {
  const clock: Clock = { ...systemClock, monotonicMs: () => 0 };
  const budget = createRetryBudget({ minPerSecond: 0, clock });
  for (let call = 0; call < 9; call += 1) budget.deposit();
  expect(budget.withdraw()).toBe(false);
  budget.deposit();
  expect(budget.withdraw()).toBe(true);
  expect(budget.withdraw()).toBe(false);
});

test('the minimum is a floor and no extra: above it, only the ratio counts', () => {
  let nowMs = 0;
  const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
  const budget = createRetryBudget({ clock });
  // 100 first calls a second, each wanting more than it gets: 10 a second, and not 13.
  for (let call = 0; call < 10_000; call += 1) {
    nowMs += 10;
    budget.deposit();
    budget.withdraw();
  }
  expect(budget.state().spent).toBeGreaterThanOrEqual(1_000);
  expect(budget.state().spent).toBeLessThanOrEqual(1_003);
});
