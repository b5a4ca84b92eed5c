import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock, type Clock } from './clock.ts';
import { createContext } from './context.ts';
import { createContextWatch, type ContextWatch } from './context-watch.ts';

let watch: ContextWatch;
/** The time that the faked timers keep. */
const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };
beforeEach(() => {
  vi.useFakeTimers();
  watch = createContextWatch(clock);
});
afterEach(() => {
  watch.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

const within = (ms: number): ReturnType<typeof createContext> =>
  createContext({ deadlineAtMs: clock.monotonicMs() + ms });

test('each is told once, at its own deadline, whatever the order they came in', () => {
  const told: number[] = [];
  for (const ms of [300, 100, 200, 100]) watch.watch(within(ms), () => told.push(ms));
  vi.advanceTimersByTime(99);
  expect(told).toEqual([]);
  vi.advanceTimersByTime(2);
  expect(told).toEqual([100, 100]);
  vi.advanceTimersByTime(1_000);
  expect(told).toEqual([100, 100, 200, 300]);
});

test('what is done in time is not told, and a thousand of them share one timer and one listener', () => {
  const told = vi.fn<() => void>();
  const caller = new AbortController();
  const context = createContext({ signal: caller.signal, deadlineAtMs: clock.monotonicMs() + 50 });
  const stops = Array.from({ length: 1_000 }, () => watch.watch(context, told));
  expect(vi.getTimerCount()).toBe(1);
  expect(getEventListeners(caller.signal, 'abort')).toHaveLength(1);
  for (const stop of stops) stop?.();
  vi.advanceTimersByTime(1_000);
  caller.abort();
  expect(told).not.toHaveBeenCalled();
});

test('abort and deadline together are told once; a second watch of the signal still hears it', () => {
  const told: string[] = [];
  const caller = new AbortController();
  const context = createContext({ signal: caller.signal, deadlineAtMs: clock.monotonicMs() + 10 });
  watch.watch(context, () => told.push('first'))?.();
  watch.watch(context, () => told.push('second'));
  caller.abort();
  vi.advanceTimersByTime(100);
  expect(told).toEqual(['second']);
});

test('without deadline and signal there is nothing to watch, and no timer', () => {
  expect(watch.watch(createContext(), () => undefined)).toBeUndefined();
  expect(vi.getTimerCount()).toBe(0);
});

test('timers that a test fakes meanwhile, and drops, do not stop it', async () => {
  vi.useRealTimers();
  const ours = createContextWatch();
  const told = Promise.withResolvers<void>();
  const soonMs = systemClock.monotonicMs() + 5;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  ours.watchDeadline(soonMs, () => undefined);
  vi.useRealTimers();
  ours.watchDeadline(soonMs + 5, told.resolve);
  await told.promise;
  ours.close();
  vi.useFakeTimers();
});
