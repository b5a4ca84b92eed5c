import fc from 'fast-check';
import { expect, test } from 'vitest';
import { claimable } from './claim-share.ts';

const names = ['a', 'b', 'c', 'd', 'e', 'f'];
/** What hangs: these names always have tasks, and none of them ever ends. */
const hogs = fc.shuffledSubarray(names, { minLength: 1, maxLength: 2 });

/** Claims what is due until nothing may be claimed any more, always of the first names that are due. */
function fill(due: readonly string[], concurrency: number): Map<string, number> {
  const running = new Map<string, number>();
  let taken = 0;
  while (taken < concurrency) {
    const { names: open, limit } = claimable(names, running, concurrency - taken, concurrency);
    const name = due.find((each) => open.includes(each));
    if (name === undefined) return running;
    expect(limit).toBeGreaterThan(0);
    running.set(name, (running.get(name) ?? 0) + limit);
    taken += limit;
  }
  return running;
}

test('whichever two names hang, one with nothing under way finds a slot', () => {
  fc.assert(
    fc.property(hogs, fc.integer({ min: 8, max: 200 }), (hanging, concurrency) => {
      const running = fill(hanging, concurrency);
      const taken = [...running.values()].reduce((sum, each) => sum + each, 0);
      expect(taken).toBeLessThan(concurrency);
      for (const name of names.filter((each) => !hanging.includes(each)))
        expect(claimable(names, running, concurrency - taken, concurrency).names).toContain(name);
    }),
  );
});

test('one that is alone has three quarters, and two have three eighths each', () => {
  expect(fill(['a'], 8)).toEqual(new Map([['a', 6]]));
  expect(fill(['a'], 100)).toEqual(new Map([['a', 75]]));
  const two = fill(['a', 'b'], 8);
  expect(two.get('a')).toBe(6);
  // In turn, as they come due together.
  let running = new Map<string, number>();
  for (let turn = 0; turn < 20; turn += 1) {
    const name = turn % 2 === 0 ? 'a' : 'b';
    const taken = [...running.values()].reduce((sum, each) => sum + each, 0);
    if (claimable(names, running, 8 - taken, 8).names.includes(name))
      running = new Map(running).set(name, (running.get(name) ?? 0) + 1);
  }
  expect(running).toEqual(
    new Map([
      ['a', 3],
      ['b', 3],
    ]),
  );
});

test('a small worker is not shared out', () => {
  expect(claimable(names, new Map([['a', 2]]), 1, 3)).toEqual({ names, limit: 1 });
});
