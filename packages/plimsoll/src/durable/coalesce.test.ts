import { expect, test } from 'vitest';
import { createContext, currentContext, runInContext } from '../kernel/context.ts';
import { coalesce } from './coalesce.ts';

/** A flush that ends when told to. */
function gate(): {
  flushed: number[][];
  flush: (items: readonly number[]) => Promise<number[]>;
  open: () => void;
} {
  const flushed: number[][] = [];
  let { promise, resolve } = Promise.withResolvers<void>();
  return {
    flushed,
    async flush(items) {
      flushed.push([...items]);
      await promise;
      return items.map((item) => item * 10);
    },
    open() {
      resolve();
      ({ promise, resolve } = Promise.withResolvers<void>());
    },
  };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('what comes in one turn is one flush, and what comes during it is the next; each gets its own result', async () => {
  const { flushed, flush, open } = gate();
  const add = coalesce(flush, { maxItems: 3 });
  const first = [add(1), add(2)];
  await turn();
  const second = [add(3), add(4), add(5), add(6)];
  open();
  await turn();
  open();
  await turn();
  open();
  expect(await Promise.all([...first, ...second])).toEqual([10, 20, 30, 40, 50, 60]);
  expect(flushed).toEqual([[1, 2], [3, 4, 5], [6]]);
});

test('after a pause it begins again', async () => {
  const add = coalesce(async (items: readonly number[]) => items);
  expect(await add(1)).toBe(1);
  expect(await add(2)).toBe(2);
});

test('a failure reaches all of its flush, and no others', async () => {
  let flushes = 0;
  const add = coalesce(async (items: readonly number[]) => {
    flushes += 1;
    if (items.includes(2)) throw new Error('no');
    return items;
  });
  const [one, two] = await Promise.allSettled([add(1), add(2)]);
  expect([one?.status, two?.status]).toEqual(['rejected', 'rejected']);
  expect(await add(3)).toBe(3);
  expect(flushes).toBe(2);
});

test('a failure that is of one is told to that one only', async () => {
  const add = coalesce(
    async (items: readonly number[]) => {
      if (items.includes(2)) throw new Error('no');
      return items;
    },
    { isOfOne: () => true },
  );
  const settled = await Promise.allSettled([add(1), add(2), add(3)]);
  expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
});

test('no caller’s context is that of the flush', async () => {
  const seen: (string | undefined)[] = [];
  const add = coalesce(async (items: readonly number[]) => {
    seen.push(currentContext()?.correlationId);
    return items;
  });
  await runInContext(createContext({ correlationId: 'mine', deadlineAtMs: 0 }), () => add(1));
  expect(seen).not.toContain('mine');
});
