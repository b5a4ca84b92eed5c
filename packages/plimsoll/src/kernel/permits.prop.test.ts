import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { systemClock, type Clock } from './clock.ts';
import { Permits } from './permits.ts';
import { WaitingLine } from './waiting-line.ts';

interface Turn {
  readonly id: number;
  readonly weight: number;
}

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('come' as const), weight: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('give' as const), pick: fc.nat(20) }) },
  // Timers are late: those who are late are found when it would be their turn, or when the line is full.
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 60 }) }),
  },
);

// Against the naive model they are held in the tests of the bulkhead and the queue.
test('without a timer that fires, nobody who is late has a turn, and everybody has one or is late, once', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.boolean(), (steps, newestFirst) => {
      const [max, maxWaiting, maxWaitMs] = [3, 4, 50];
      const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
      let nowMs = 0;
      const started: number[] = [];
      const late: number[] = [];
      const since = new Map<number, number>();
      const line = new WaitingLine<Turn>({
        max: maxWaiting,
        maxWaitMs,
        order: newestFirst ? 'newest-first-when-full' : 'fifo',
        clock,
        onDropped: ({ item }) => late.push(item.id),
        onShorter: () => undefined,
      });
      const active = new Map<number, number>();
      const permits: Permits<Turn> = new Permits(max, line, ({ id, weight }) => {
        expect(nowMs - since.get(id)!, 'had its turn in time').toBeLessThan(maxWaitMs);
        active.set(id, weight);
        started.push(id);
      });
      let id = 0;
      for (const given of steps) {
        if (given.kind === 'come') {
          id += 1;
          const { weight } = given;
          since.set(id, nowMs);
          if (permits.take(weight)) {
            active.set(id, weight);
            started.push(id);
          } else if (!line.full()) line.join({ id, weight }, undefined);
        } else if (given.kind === 'give') {
          const target = [...active.keys()][given.pick % Math.max(1, active.size)];
          if (target === undefined) continue;
          const weight = active.get(target)!;
          active.delete(target);
          permits.give(weight);
        } else {
          nowMs += given.ms;
        }
        const taken = [...active.values()].reduce((sum, weight) => sum + weight, 0);
        expect(permits.free).toBe(max - taken);
        expect(line.length).toBeLessThanOrEqual(maxWaiting);
        expect(new Set([...started, ...late]).size, 'a turn or late, once').toBe(
          started.length + late.length,
        );
        if (line.length > 0) expect(line.oldestMs).toBeGreaterThanOrEqual(0);
      }
    }),
  );
});

test('turns that end at once do not nest, however many wait', () => {
  const length = 50_000;
  const line = new WaitingLine<Turn>({
    max: length,
    maxWaitMs: 60_000,
    order: 'fifo',
    clock: systemClock,
    onDropped: () => undefined,
    onShorter: () => undefined,
  });
  const order: number[] = [];
  const permits: Permits<Turn> = new Permits(1, line, ({ id, weight }) => {
    order.push(id);
    permits.give(weight);
  });
  expect(permits.take(1)).toBe(true);
  for (let id = 0; id < length; id += 1) line.join({ id, weight: 1 }, undefined);
  permits.give(1);
  expect(order).toHaveLength(length);
  expect(order).toEqual(order.toSorted((one, other) => one - other));
  expect(permits.free).toBe(1);
});

test('the estimate is the line by the turns that ended of late; a guess when nobody has asked of late', () => {
  let nowMs = 0;
  const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
  const line = new WaitingLine<Turn>({
    max: 100,
    maxWaitMs: 60_000,
    order: 'fifo',
    clock,
    onDropped: () => undefined,
    onShorter: () => undefined,
  });
  const permits = new Permits<Turn>(1, line, () => undefined);
  permits.take(1);
  for (let id = 0; id < 99; id += 1) line.join({ id, weight: 1 }, undefined);
  expect(permits.estimateMs(nowMs)).toBe(1_000);
  // Ten turns in half a second; 89 still wait, and whoever asks is the next after them.
  for (let turn = 0; turn < 10; turn += 1) permits.give(1);
  nowMs += 500;
  expect(permits.estimateMs(nowMs)).toBe((89 + 1) * 50);
  nowMs += 500;
  expect(permits.estimateMs(nowMs), 'nothing ends').toBe(5_000);
  nowMs += 60_000;
  expect(permits.estimateMs(nowMs), 'it may have been idle').toBe(1_000);
});
