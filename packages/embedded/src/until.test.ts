import { expect, test } from 'vitest';
import { allSettled, createQueue, happensWithin, until } from './until.ts';

test('until answers the first value, and throws the given error when time is up', async () => {
  let calls = 0;
  expect(
    await until(() => ++calls === 3 && 'three', { timeoutMs: 1000, everyMs: 1, late: () => new Error() }),
  ).toBe('three');
  await expect(until(() => undefined, { timeoutMs: 5, late: () => new Error('too late') })).rejects.toThrow(
    'too late',
  );
  expect(await happensWithin(5, () => false)).toBe(false);
});

test('a queue runs one task after another, past a failed one', async () => {
  const queue = createQueue();
  const order: string[] = [];
  const first = queue(async () => {
    await Promise.resolve();
    order.push('first');
    throw new Error('failed');
  });
  const second = queue(async () => order.push('second'));
  await expect(first).rejects.toThrow('failed');
  await second;
  expect(order).toEqual(['first', 'second']);
});

test('allSettled throws only when nothing is under way any more', async () => {
  let done = false;
  const slow = new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
    done = true;
  });
  await expect(allSettled([Promise.reject(new Error('one')), slow])).rejects.toThrow('one');
  expect(done).toBe(true);
});
