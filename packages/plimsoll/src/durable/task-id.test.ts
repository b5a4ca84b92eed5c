import { expect, test } from 'vitest';
import { newTaskId } from './task-id.ts';

test('is a UUID of version 7 whose order is that of time', () => {
  const [early, late] = [newTaskId(1_700_000_000_000), newTaskId(1_700_000_000_001)];
  for (const id of [early, late])
    expect(id).toMatch(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
  expect(early.slice(0, 13)).toBe('018bcfe5-6800');
  expect(early < late).toBe(true);
  expect(newTaskId(0)).not.toBe(newTaskId(0));
});
