import type { Lifecycle } from '../kernel/lifecycle.ts';

/**
 * Starts and stops a lifecycle in every awkward way: twice, at once, stop before start, stop during start.
 * Rejects if any of it rejects; leaves it stopped.
 */
export async function stress(lifecycle: Lifecycle, rounds = 3): Promise<void> {
  await lifecycle.stop();
  for (let round = 0; round < rounds; round += 1) {
    await Promise.all([lifecycle.start(), lifecycle.start()]);
    await Promise.all([
      lifecycle.stop(),
      lifecycle.stop(),
      lifecycle.start(),
      lifecycle.drain(),
      lifecycle.stop(),
    ]);
  }
  await lifecycle.start();
  await lifecycle.drain();
  await lifecycle.drain();
  await lifecycle.stop();
  if (lifecycle.state !== 'stopped') throw new Error(`the lifecycle is ${lifecycle.state} after stop`);
}
