import fc from 'fast-check';
import { expect, test } from 'vitest';
import { systemClock } from '../kernel/clock.ts';
import { createOutboxFloor } from './outbox-floor.ts';

test('what was moved within ten seconds is looked at again, and everything every five', () => {
  const step = fc.record({
    passesMs: fc.integer({ min: 0, max: 3_000 }),
    id: fc.integer({ min: 1, max: 1_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      let nowMs = 0;
      const floor = createOutboxFloor({ ...systemClock, monotonicMs: () => nowMs });
      const moved: { readonly atMs: number; readonly id: number }[] = [];
      let fullAtMs = -Infinity;
      for (const { passesMs, id } of steps) {
        nowMs += passesMs;
        const behind = floor.next();
        const settled = moved.filter(({ atMs }) => nowMs - atMs >= 10_000).map((each) => each.id);
        expect(behind).toBeLessThanOrEqual(Math.max(0, ...settled));
        if (nowMs - fullAtMs >= 5_000) expect(behind).toBe(0);
        if (behind === 0) fullAtMs = nowMs;
        floor.moved(id);
        moved.push({ atMs: nowMs, id });
      }
    }),
  );
});

test('it does rise, so that what is long gone is not walked again', () => {
  let nowMs = 0;
  const floor = createOutboxFloor({ ...systemClock, monotonicMs: () => nowMs });
  const seen: number[] = [];
  for (let turn = 1; turn <= 40; turn += 1) {
    nowMs += 1_000;
    seen.push(floor.next());
    floor.moved(turn);
  }
  expect(seen.slice(-4)).toEqual([27, 28, 29, 30]);
  expect(seen.filter((id) => id === 0).length).toBeLessThan(20);
});
