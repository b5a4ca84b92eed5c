import { expect, test, vi } from 'vitest';
import { createSignal } from './signal.ts';

test('a notification before the wait is not lost, and several are one', async () => {
  vi.useFakeTimers();
  try {
    const signal = createSignal();
    signal.notify();
    signal.notify();
    await signal.wait(1_000_000);
    let over = false;
    const second = signal.wait(1_000).then(() => {
      over = true;
    });
    await vi.advanceTimersByTimeAsync(999);
    expect(over).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await second;
    expect(over).toBe(true);
  } finally {
    vi.useRealTimers();
  }
});
