import fc from 'fast-check';
import { expect, test } from 'vitest';
import { systemClock } from '../kernel/clock.ts';
import { createSlots, type Slots } from './slots.ts';
import type { ClaimedTask } from './task.ts';

const names = ['quick', 'slow', 'other'];

interface World {
  readonly slots: Slots;
  /** By name: ends of what is under way, oldest first. */
  readonly running: Map<string, (() => void)[]>;
  advance(ms: number): void;
  started: number;
  most: number;
}

function world(concurrency: number): World {
  let nowMs = 0;
  const running = new Map<string, (() => void)[]>(names.map((name) => [name, []]));
  const all: World = {
    running,
    advance: (ms) => (nowMs += ms),
    started: 0,
    most: 0,
    slots: createSlots({
      concurrency,
      clock: { ...systemClock, monotonicMs: () => nowMs },
      onRoom: () => undefined,
      run: (task) =>
        new Promise((resolve) => {
          all.started += 1;
          running.get(task.name)?.push(resolve);
          all.most = Math.max(all.most, [...running.values()].flat().length);
        }),
    }),
  };
  return all;
}
let id = 0;
const task = (name: string): ClaimedTask => ({ id: `${(id += 1)}`, name }) as ClaimedTask;

/** Claims all that is wanted, as if there were endless tasks of these names; returns how many. */
function claim({ slots }: World, due: readonly string[]): number {
  let claimed = 0;
  for (const { names: open, limit } of slots.wanted(names)) {
    const name = due.find((each) => open.includes(each));
    if (name === undefined) continue;
    slots.take(Array.from({ length: limit }, () => task(name)));
    claimed += limit;
  }
  return claimed;
}
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
async function end({ running }: World, name: string): Promise<void> {
  running.get(name)?.shift()?.();
  await settled();
}

test('whatever is claimed and ends, no more run than there are slots, and none is lost or run twice', async () => {
  const step = fc.oneof(
    fc.shuffledSubarray(names, { minLength: 1 }),
    fc.constant('stale' as const),
    fc.constantFrom(...names),
    fc.record({ reserve: fc.constantFrom(...names), begins: fc.boolean() }),
    fc.integer({ min: 0, max: 2_000 }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 12 }),
      fc.array(step, { maxLength: 60, size: 'max' }),
      async (concurrency, steps) => {
        const one = world(concurrency);
        let claimed = 0;
        let given = 0;
        for (const each of steps) {
          if (typeof each === 'object' && 'reserve' in each) {
            const reserved = one.slots.reserve(each.reserve);
            if (reserved === undefined) {
              expect(one.slots.room(each.reserve)).toBe(0);
              continue;
            }
            expect(one.slots.running).toBe([...one.running.values()].flat().length + 1);
            if (each.begins) {
              reserved.begin(task(each.reserve));
              claimed += 1;
            } else reserved.free();
          } else if (typeof each === 'object') claimed += claim(one, each);
          else if (each === 'stale') given += one.slots.giveBack('stale').length;
          else if (typeof each === 'number') one.advance(each);
          else await end(one, each);
          expect(one.slots.running).toBe([...one.running.values()].flat().length);
          expect(one.most).toBeLessThanOrEqual(concurrency);
          expect(one.started + one.slots.held + given).toBe(claimed);
        }
      },
    ),
    { numRuns: 200 },
  );
});

test('of a name whose tasks end all the time some are claimed ahead, of a slow one only what can start', async () => {
  const one = world(8);
  expect(claim(one, ['quick'])).toBe(6);
  for (let n = 0; n < 6; n += 1) await end(one, 'quick');
  // Six in no time, as if they were 24 a second: two in a tenth of it.
  expect(one.slots.wanted(names)).toEqual([
    { names: ['slow', 'other'], limit: 6 },
    { names: ['quick'], limit: 8, limits: [8] },
  ]);
  claim(one, ['slow']);
  one.advance(60_000);
  for (let n = 0; n < 6; n += 1) await end(one, 'slow');
  one.advance(60_000);
  expect(one.slots.wanted(names)).toEqual([{ names, limit: 6 }]);
});

test('what is held never passes the most, and a claim gives each name its own part', async () => {
  const one = world(12);
  for (let round = 0; round < 40; round += 1) {
    claim(one, ['quick']);
    for (let n = 0; n < 12; n += 1) await end(one, 'quick');
    one.advance(1);
  }
  claim(one, ['quick']);
  expect(one.slots.held).toBeGreaterThan(100);
  expect(one.slots.held).toBeLessThanOrEqual(1_000);
  for (const { names: open, limit, limits } of one.slots.wanted(names))
    expect(limits === undefined || (limits.length === open.length && limit <= 1_000)).toBe(true);
});

test('a quick name that hangs leaves slots to others, and gives back what it holds', async () => {
  const one = world(8);
  for (let round = 0; round < 10; round += 1) {
    claim(one, ['quick']);
    for (let n = 0; n < 6; n += 1) await end(one, 'quick');
  }
  claim(one, ['quick']);
  const held = one.slots.held;
  expect(held).toBeGreaterThan(10);
  expect(one.running.get('quick')).toHaveLength(6);
  expect(one.slots.wanted(names)[0]).toMatchObject({ names: ['slow', 'other'] });
  one.slots.take([task('slow')]);
  expect(one.running.get('slow')).toHaveLength(1);
  expect(one.slots.giveBack('stale')).toEqual([]);
  one.advance(1_001);
  expect(one.slots.giveBack('stale')).toHaveLength(held);
  expect(one.slots.held).toBe(0);
  // Nothing of it is claimed ahead until it has been quick again.
  expect(one.slots.wanted(names)).toHaveLength(1);
});

test('a slot that is reserved counts as under way, and what was held begins when it is freed', async () => {
  const one = world(1);
  const reserved = one.slots.reserve('slow');
  expect(one.slots.reserve('other')).toBeUndefined();
  one.slots.take([task('quick')]);
  let idle = false;
  void one.slots.idle().then(() => (idle = true));
  await settled();
  expect([idle, one.started, one.slots.held]).toEqual([false, 0, 1]);
  reserved?.free();
  expect([one.started, one.slots.held]).toEqual([1, 0]);
  await end(one, 'quick');
  expect(idle).toBe(true);
});

test('waits for what is under way, and not for what is held', async () => {
  const one = world(1);
  await one.slots.idle();
  one.slots.take([task('slow'), task('slow')]);
  expect(one.slots.giveBack('all')).toHaveLength(1);
  let idle = false;
  void one.slots.idle().then(() => (idle = true));
  await settled();
  expect(idle).toBe(false);
  await end(one, 'slow');
  expect(idle).toBe(true);
});
