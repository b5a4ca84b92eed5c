import { expect, test } from 'vitest';
import { createLifecycle, type Lifecycle } from '../kernel/lifecycle.ts';
import { stress } from './stress.ts';

test('a sound lifecycle passes, is started again and again, and is left stopped', async () => {
  let [starts, stops] = [0, 0];
  const poller = createLifecycle({
    name: 'poller',
    start: async () => void (starts += 1),
    stop: async () => void (stops += 1),
  });
  // #region stress
  await stress(poller);
  // #endregion
  expect(poller.state).toBe('stopped');
  expect(starts).toBeGreaterThan(3);
  expect(stops).toBe(starts);
});

test('one that can be started only once does not pass', async () => {
  let started = false;
  const once = createLifecycle({
    name: 'once',
    start: () => {
      if (started) return Promise.reject(new Error('already used'));
      started = true;
      return Promise.resolve();
    },
    stop: () => Promise.resolve(),
  });
  await expect(stress(once)).rejects.toThrow('already used');
});

test('one that does not stop when it is told to does not pass', async () => {
  const sound = createLifecycle({
    name: 'deaf',
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
  });
  const deaf: Lifecycle = {
    get state() {
      return sound.state;
    },
    start: () => sound.start(),
    drain: () => sound.drain(),
    stop: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => sound.stop(),
  };
  await expect(stress(deaf)).rejects.toThrow(/after stop$/);
});
