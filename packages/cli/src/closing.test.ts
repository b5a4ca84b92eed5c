import { expect, test } from 'vitest';
import { Closing } from './closing.ts';

test('closes the last first, all of them, and tells the first failure', async () => {
  const closed: string[] = [];
  const closing = new Closing();
  closing.defer(() => closed.push('first'));
  closing.defer(() => {
    throw new Error('second');
  });
  closing.use({ [Symbol.asyncDispose]: async () => void closed.push('third') });
  await expect(closing[Symbol.asyncDispose]()).rejects.toThrow('second');
  expect(closed).toEqual(['third', 'first']);
  await closing[Symbol.asyncDispose]();
  expect(closed).toHaveLength(2);
});

test('what was moved is closed by the other one only', async () => {
  const closed: string[] = [];
  let moved: Closing;
  {
    await using closing = new Closing();
    closing.defer(() => closed.push('kept'));
    moved = closing.move();
  }
  expect(closed).toEqual([]);
  await moved[Symbol.asyncDispose]();
  expect(closed).toEqual(['kept']);
});
