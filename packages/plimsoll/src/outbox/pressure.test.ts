import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { EventLag } from './lag.ts';
import { overBudget } from './pressure.ts';

const lag = (oldestMs: number, ...backlogs: readonly number[]): EventLag => ({
  outbox: { events: 3, oldestMs },
  subscriptions: backlogs.map((backlog, index) => ({
    name: `m.s${index}`,
    eventType: `test.e${index}`,
    backlog,
    oldestMs: 0,
    parked: 0,
    behind: 0,
  })),
  readers: [],
});
const none = new Map<string, string>();

test('only the events of the subscription that is behind are refused, and the reason has both numbers', () => {
  const refused = overBudget(lag(0, 11, 10), { backlog: 10 }, none);
  expect([...refused.keys()]).toEqual(['test.e0']);
  expect(refused.get('test.e0')).toMatch(/11 deliveries of m\.s0 .* is 10/);
});

test('an outbox that is behind refuses all', () => {
  expect([...overBudget(lag(5_001), { outboxMs: 5_000 }, none).keys()]).toEqual(['*']);
  expect([...overBudget(lag(5_000), { outboxMs: 5_000 }, none).keys()]).toEqual([]);
});

test('without a budget nothing is refused, however much there is', () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), (oldestMs, backlog) => {
      expect(overBudget(lag(oldestMs, backlog), {}, none).size).toBe(0);
    }),
  );
});

test('what was refused is taken again below four fifths of the budget, and not before', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000 }), fc.nat({ max: 2_000 }), (backlog, waiting) => {
      const before = new Map([['test.e0', 'why']]);
      expect(overBudget(lag(0, waiting), { backlog }, before).has('test.e0')).toBe(waiting > backlog * 0.8);
      expect(overBudget(lag(0, waiting), { backlog }, none).has('test.e0')).toBe(waiting > backlog);
    }),
  );
});
