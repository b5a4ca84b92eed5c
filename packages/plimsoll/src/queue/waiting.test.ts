import { expect, test } from 'vitest';
import { systemClock } from '../kernel/clock.ts';
import { currentTick } from '../kernel/coarse-clock.ts';
import { createQueue } from './create-queue.ts';

test('with the clock of the process an item waits for as long as it may, and no shorter', async () => {
  // Joins late in a tick, whose beginning is not when it joined.
  const tick = currentTick();
  while (systemClock.monotonicMs() < tick.beganAtMs + 10);
  const queue = createQueue<number>({ name: 'mails', maxWaitMs: 300 });
  const joinedAtMs = systemClock.monotonicMs();
  await expect(queue.push(1)).rejects.toMatchObject({ code: 'PL_QUEUE_FULL' });
  expect(systemClock.monotonicMs()).toBeGreaterThanOrEqual(joinedAtMs + 300);
  expect(queue.state()).toMatchObject({ length: 0, dropped: 1 });
});
