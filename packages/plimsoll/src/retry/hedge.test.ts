import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Attempt } from '../kernel/attempt.ts';
import { Cancellation } from '../kernel/cancellation.ts';
import { refusals, retries, type RefusalMessage, type RetryMessage } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { createRetryBudget } from './budget.ts';
import type { RetryOptions } from './options.ts';
import { createRetry, type Retry } from './retry.ts';

const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
const clock: Clock = { ...systemClock, now: () => Date.now(), monotonicMs: () => Date.now(), sleep };
const stops: (() => void)[] = [];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
});
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
  vi.useRealTimers();
});

const retryOf = (given: Partial<RetryOptions> = {}): Retry =>
  createRetry({ name: 'stock', safe: true, clock, random: () => 0, hedge: { delayMs: 50 }, ...given });
const busy = (): PlimsollError => new PlimsollError('PL_POOL_TIMEOUT', 'no connection');

/** What each attempt does, by its number; and the attempts there were. */
function script(...steps: readonly { ms: number; error?: Error }[]): {
  work: (attempt: Attempt) => Promise<number>;
  attempts: Attempt[];
} {
  const attempts: Attempt[] = [];
  const work = async (attempt: Attempt): Promise<number> => {
    attempts.push(attempt);
    expect(attempt.signal.aborted).toBe(false);
    const { ms, error } = steps[attempt.number - 1]!;
    await sleep(ms);
    if (error !== undefined) throw error;
    return attempt.number;
  };
  return { work, attempts };
}
const outcome = async (running: Promise<unknown>): Promise<unknown> => {
  const settled = running.then(
    (value) => value,
    (error: unknown) => error,
  );
  await vi.advanceTimersByTimeAsync(10_000);
  return settled;
};

test('a call that is answered in time has no second one beside it', async () => {
  const { work, attempts } = script({ ms: 49 });
  const retry = retryOf();
  expect(await outcome(retry.run(work))).toBe(1);
  expect(attempts).toHaveLength(1);
  expect(retry.state()).toMatchObject({ hedges: 0, retries: 0 });
});

test('a slow call has one; the first success wins, and only the loser is aborted', async () => {
  const seen: RetryMessage[] = [];
  stops.push(retries.subscribe((message) => seen.push(message)));
  const retry = retryOf();
  const { work, attempts } = script({ ms: 500 }, { ms: 10 }, { ms: 0 });
  const startMs = Date.now();
  const running = retry.run(work).then((value) => [value, Date.now() - startMs]);
  expect(await outcome(running)).toEqual([2, 60]);
  expect(attempts.map(({ number, signal }) => [number, signal.aborted])).toEqual([
    [1, true],
    [2, false],
  ]);
  expect(attempts[0]?.signal.reason).toMatchObject({ code: 'PL_ABORTED' });
  expect(seen).toEqual([{ scope: retry, name: 'stock', kind: 'hedge', attempt: 2, delayMs: 50 }]);

  const other = script({ ms: 70 }, { ms: 100 });
  expect(await outcome(retry.run(other.work))).toBe(1);
  expect(other.attempts.map(({ signal }) => signal.aborted)).toEqual([false, true]);
  expect(retry.state()).toMatchObject({ hedges: 2, retries: 0, budget: { spent: 2 } });
});

test('a failure waits for the other; when both fail, what is left of the attempts follows', async () => {
  expect(await outcome(retryOf().run(script({ ms: 60, error: busy() }, { ms: 100 }).work))).toBe(2);
  expect(await outcome(retryOf().run(script({ ms: 100 }, { ms: 5, error: busy() }).work))).toBe(1);
  const both = script({ ms: 60, error: busy() }, { ms: 20, error: busy() }, { ms: 1 });
  expect(await outcome(retryOf().run(both.work))).toBe(3);
  const two = script({ ms: 60, error: busy() }, { ms: 20, error: busy() });
  expect(await outcome(retryOf({ attempts: 2 }).run(two.work))).toMatchObject({ code: 'PL_POOL_TIMEOUT' });
});

test('an error that is an answer ends the call, and aborts the other', async () => {
  const error = Object.assign(new Error('no such sku'), { status: 404 });
  const { work, attempts } = script({ ms: 60, error }, { ms: 500 });
  expect(await outcome(retryOf().run(work))).toBe(error);
  expect(attempts[1]?.signal.aborted).toBe(true);
});

test('a failure before the delay is retried, not hedged', async () => {
  const retry = retryOf();
  expect(await outcome(retry.run(script({ ms: 5, error: busy() }, { ms: 5 }).work))).toBe(2);
  expect(retry.state()).toMatchObject({ hedges: 0, retries: 1 });
});

test('what fails late after the other won is ignored', async () => {
  const unhandled: unknown[] = [];
  const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', onUnhandled);
  expect(await outcome(retryOf().run(script({ ms: 500, error: busy() }, { ms: 1 }).work))).toBe(2);
  vi.useRealTimers();
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', onUnhandled);
  expect(unhandled).toEqual([]);
});

test('a retry inside a hedged call leaves it to the one outside', async () => {
  let calls = 0;
  const inner = retryOf();
  const running = retryOf().run(() =>
    inner.run(() => {
      calls += 1;
      return Promise.reject(busy());
    }),
  );
  expect(await outcome(running)).toMatchObject({ code: 'PL_POOL_TIMEOUT' });
  expect(calls).toBe(3);
});

test('hedged calls count in the typical duration, from the first call to the answer', async () => {
  const retry = retryOf();
  await outcome(retry.run(script({ ms: 500 }, { ms: 10 }).work));
  expect(retry.state().p50Ms).toBe(60);
});

test('a hedge takes from the budget of the retries; without one there is none', async () => {
  const seen: RefusalMessage[] = [];
  stops.push(refusals.subscribe((message) => seen.push(message)));
  const retry = retryOf({ budget: createRetryBudget({ minPerSecond: 0, clock }) });
  const { work, attempts } = script({ ms: 200 });
  expect(await outcome(retry.run(work))).toBe(1);
  expect(attempts).toHaveLength(1);
  expect(seen).toMatchObject([{ policy: 'retry-budget', reason: 'no hedge: the budget is spent' }]);
});

test('commands are not hedged: work that is not safe, and a call that says so', async () => {
  for (const call of [{ safe: false }, { hedge: false }]) {
    const { work, attempts } = script({ ms: 200 });
    await outcome(retryOf().run(work, call));
    expect(attempts).toHaveLength(1);
  }
});

test('the caller goes away: both are told, and none is begun after it', async () => {
  const cancellation = new Cancellation();
  const { work, attempts } = script({ ms: 200, error: busy() }, { ms: 200, error: busy() }, { ms: 0 });
  const running = runInContext(createContext({ cancellation }), () => retryOf().run(work));
  const settled = running.catch((error: unknown) => error);
  await vi.advanceTimersByTimeAsync(60);
  cancellation.cancel('gone');
  expect(attempts.map(({ signal }) => signal.aborted)).toEqual([true, true]);
  await outcome(settled);
  expect(attempts).toHaveLength(2);

  const early = script({ ms: 200 }, { ms: 0 });
  const gone = new Cancellation();
  const alone = runInContext(createContext({ cancellation: gone }), () => retryOf().run(early.work));
  gone.cancel('gone');
  await outcome(alone);
  expect(early.attempts).toHaveLength(1);
});

test('without a delay of its own, the 95th percentile seen; and no hedge before 20 calls', async () => {
  const retry = retryOf({ hedge: {} });
  const early = script({ ms: 5_000 });
  await outcome(retry.run(early.work));
  expect(early.attempts).toHaveLength(1);
  for (let call = 1; call <= 320; call += 1) {
    const running = retry.run(() => sleep(10));
    await vi.advanceTimersByTimeAsync(10);
    await running;
  }
  const startMs = Date.now();
  const at: number[] = [];
  const running = retry.run(async () => {
    at.push(Date.now() - startMs);
    await sleep(1_000);
  });
  await outcome(running);
  expect(at).toEqual([0, 10]);
});

test('a hedged call that has ended leaves nothing behind, and a hundred share one timer', async () => {
  const retry = retryOf({ hedge: { delayMs: 1_000 } });
  for (let call = 0; call < 100; call += 1) await retry.run(async () => call);
  await vi.advanceTimersByTimeAsync(500);
  for (let call = 0; call < 100; call += 1) await retry.run(async () => call);
  expect(vi.getTimerCount()).toBe(1);
  // The timer of the first is over; those after them are gone, so there is no other.
  await vi.advanceTimersByTimeAsync(501);
  expect(vi.getTimerCount()).toBe(0);
});
