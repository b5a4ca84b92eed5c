import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Attempt, Work } from '../kernel/attempt.ts';
import { Cancellation } from '../kernel/cancellation.ts';
import { refusals, retries, type RefusalMessage, type RetryMessage } from '../kernel/channels.ts';
import type { Clock } from '../kernel/clock.ts';
import { createContext, currentContext, runInContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { createRetryBudget } from './budget.ts';
import { createRetry, type Retry } from './retry.ts';
import type { RetryOptions } from './options.ts';

/** The time that the faked timers keep. */
const clock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      const wake = (): void => {
        clearTimeout(timer);
        resolve();
      };
      if (signal?.aborted === true) wake();
      else signal?.addEventListener('abort', wake);
    }),
};
const stops: (() => void)[] = [];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
});
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
  vi.useRealTimers();
});

const retryOf = (given: Partial<RetryOptions> = {}): Retry =>
  createRetry({ name: 'stock', safe: true, clock, random: () => 0.5, ...given });
const busy = (data?: Record<string, unknown>): PlimsollError =>
  new PlimsollError('PL_POOL_TIMEOUT', 'no connection', data ? { data } : {});
const httpError = (status: number, headers?: Record<string, string>): Error =>
  Object.assign(new Error(`answered ${status}`), { status, ...(headers && { headers }) });
/** Fails so often with the error, then gives the number of the attempt. */
const failing = (times: number, error: unknown = busy()): Work<number> & { calls: number } => {
  const work = Object.assign(
    async ({ number }: Attempt): Promise<number> => {
      work.calls += 1;
      if (work.calls <= times) throw error;
      return number;
    },
    { calls: 0 },
  );
  return work;
};
const outcome = async (running: Promise<unknown>): Promise<unknown> => {
  const settled = running.then(
    (value) => value,
    (error: unknown) => error,
  );
  await vi.advanceTimersByTimeAsync(60_000);
  return settled;
};

test('a success is not made again; a failure is, at most `attempts` times in all, and the last error is thrown', async () => {
  const good = failing(0);
  expect(await outcome(retryOf().run(good))).toBe(1);
  expect(good.calls).toBe(1);
  const twice = failing(2);
  expect(await outcome(retryOf().run(twice))).toBe(3);
  const errors = [busy(), busy(), busy(), busy()];
  let calls = 0;
  const always = retryOf().run(() => Promise.reject(errors[calls++]!));
  expect(await outcome(always)).toBe(errors[2]);
  expect(calls).toBe(3);
});

test('a synchronous throw is a failure like any other', async () => {
  let calls = 0;
  const running = retryOf().run(() => {
    calls += 1;
    if (calls === 1) throw busy();
    return Promise.resolve('done');
  });
  expect(await outcome(running)).toBe('done');
});

test('work that is not safe is done once, whatever the error; a call can say that it is safe, or is not', async () => {
  const unsafe = failing(1);
  expect(await outcome(retryOf({ safe: false }).run(unsafe))).toMatchObject({ code: 'PL_POOL_TIMEOUT' });
  expect(unsafe.calls).toBe(1);
  expect(await outcome(createRetry({ name: 'default', clock }).run(failing(1)))).toBeInstanceOf(Error);
  expect(await outcome(retryOf({ safe: false }).run(failing(1), { safe: true }))).toBe(2);
  expect(await outcome(retryOf().run(failing(1), { safe: false }))).toBeInstanceOf(Error);
});

test('the waits are fully jittered, doubled each time and capped', async () => {
  const delays: number[] = [];
  stops.push(retries.subscribe(({ delayMs }) => delays.push(delayMs)));
  const budget = createRetryBudget({ minPerSecond: 100, clock });
  const all = { attempts: 6, baseMs: 100, maxMs: 300, budget };
  await outcome(retryOf({ ...all, random: () => 0.999 }).run(failing(9)));
  await outcome(retryOf({ ...all, attempts: 3, random: () => 0 }).run(failing(9)));
  expect(delays.map(Math.round)).toEqual([100, 200, 300, 300, 300, 0, 0]);
});

test('what asks to be left alone is, for at least that long: data, seconds, a date', async () => {
  const startMs = Date.now();
  const date = new Date(startMs + 5_000).toUTCString();
  for (const [error, atLeastMs] of [
    [busy({ retryAfterMs: 700 }), 700],
    [httpError(503, { 'retry-after': '2' }), 2_000],
    [httpError(429, { 'retry-after': date }), 3_000],
    [
      Object.assign(new Error('x'), {
        response: { status: 503, headers: new Headers({ 'retry-after': '1' }) },
      }),
      1_000,
    ],
  ] as const) {
    const at: number[] = [];
    let calls = 0;
    const before = Date.now();
    vi.setSystemTime(error instanceof PlimsollError ? before : startMs);
    await outcome(
      retryOf().run(() => {
        at.push(Date.now());
        return calls++ === 0 ? Promise.reject(error) : Promise.resolve();
      }),
    );
    expect(at).toHaveLength(2);
    expect(at[1]! - at[0]!).toBeGreaterThanOrEqual(atLeastMs);
    expect(at[1]! - at[0]!).toBeLessThan(atLeastMs + 2_100);
  }
});

test('who asks to be left alone for too long is not called again', async () => {
  const work = failing(1, busy({ retryAfterMs: 10_001 }));
  expect(await outcome(retryOf().run(work))).toMatchObject({ code: 'PL_POOL_TIMEOUT' });
  expect(work.calls).toBe(1);
});

test('a refusal is tried again only when it says when, and not before: an open breaker is not asked at once', async () => {
  const open = (data: Record<string, unknown>): PlimsollError =>
    new PlimsollError('PL_BREAKER_OPEN', 'open', { data });
  const blind = failing(1, open({}));
  await outcome(retryOf().run(blind));
  expect(blind.calls).toBe(1);
  const startMs = Date.now();
  const at: number[] = [];
  await outcome(
    retryOf().run(() => {
      at.push(Date.now() - startMs);
      return at.length === 1 ? Promise.reject(open({ retryAfterMs: 400 })) : Promise.resolve();
    }),
  );
  expect(at[1]).toBeGreaterThanOrEqual(400);
});

test('no attempt is begun when a typical one would end after the deadline', async () => {
  const retry = retryOf({ baseMs: 100 });
  const slow = (): Promise<void> => clock.sleep(200);
  await outcome(retry.run(slow));
  expect(retry.state().p50Ms).toBe(200);
  const calls: number[] = [];
  const within = (ms: number): Promise<unknown> => {
    calls.length = 0;
    const context = createContext({ deadlineAtMs: Date.now() + ms });
    return outcome(
      runInContext(context, () => retry.run(({ number }) => (calls.push(number), Promise.reject(busy())))),
    );
  };
  // The first wait is 50, the second 100; a typical call takes 200.
  await within(250);
  expect(calls).toEqual([1]);
  await within(260);
  expect(calls).toEqual([1, 2]);
});

test('the caller goes away during a wait: PL_ABORTED at once, and no further attempt', async () => {
  const cancellation = new Cancellation();
  const work = failing(9, busy({ retryAfterMs: 5_000 }));
  const running = runInContext(createContext({ cancellation }), () => retryOf().run(work));
  const told = expect(running).rejects.toMatchObject({ code: 'PL_ABORTED', cause: 'socket closed' });
  await vi.advanceTimersByTimeAsync(100);
  cancellation.cancel('socket closed');
  await told;
  expect(work.calls).toBe(1);
  expect(vi.getTimerCount()).toBe(0);
});

test('the caller has gone before the first attempt: PL_ABORTED, and none is made', async () => {
  const cancellation = new Cancellation();
  cancellation.cancel('socket closed');
  const work = failing(0);
  const retry = retryOf();
  const running = runInContext(createContext({ cancellation }), () => retry.run(work));
  expect(await outcome(running)).toMatchObject({ code: 'PL_ABORTED', cause: 'socket closed' });
  expect([work.calls, retry.state().calls]).toEqual([0, 0]);
});

test('the caller goes away during an attempt: that is the last one', async () => {
  const cancellation = new Cancellation();
  let calls = 0;
  const running = runInContext(createContext({ cancellation }), () =>
    retryOf().run(({ signal }) => {
      calls += 1;
      cancellation.cancel('gone');
      expect(signal.aborted).toBe(true);
      return Promise.reject(busy());
    }),
  );
  expect(await outcome(running)).toMatchObject({ code: 'PL_POOL_TIMEOUT' });
  expect(calls).toBe(1);
});

test('the guard around it gives up: no further attempt, and a wait ends at once', async () => {
  const around = new AbortController();
  const within: Attempt = { number: 1, signal: around.signal };
  const work = failing(9, busy({ retryAfterMs: 5_000 }));
  const running = retryOf().run(work, { within });
  const told = expect(running).rejects.toMatchObject({ code: 'PL_ABORTED' });
  await vi.advanceTimersByTimeAsync(100);
  around.abort();
  await told;
  expect(work.calls).toBe(1);
});

test('the deadline of the guard around it holds too', async () => {
  const within: Attempt = { number: 1, signal: new AbortController().signal, deadlineAtMs: Date.now() + 20 };
  const work = failing(9);
  await outcome(retryOf().run(work, { within }));
  expect(work.calls).toBe(1);
});

test('three layers of three attempts are three calls, also across awaits', async () => {
  const layers = [1, 2, 3].map(() => retryOf());
  const work = failing(99);
  const later = async <T>(next: () => Promise<T>): Promise<T> => {
    await Promise.resolve();
    await clock.sleep(1);
    return next();
  };
  const [outer, middle, inner] = layers as [Retry, Retry, Retry];
  const running = outer.run(() =>
    later(() => middle.run(() => later(() => inner.run((attempt) => work(attempt))))),
  );
  expect(await outcome(running)).toMatchObject({ code: 'PL_POOL_TIMEOUT' });
  expect(work.calls).toBe(3);
  expect(layers.map((layer) => layer.state().retries)).toEqual([2, 0, 0]);
});

test('without the ambient mark, an attempt that is passed on says the same', async () => {
  const [outer, inner] = [retryOf({ ambient: false }), retryOf({ ambient: false })];
  const work = failing(99);
  await outcome(outer.run((attempt) => inner.run(work, { within: attempt })));
  expect(work.calls).toBe(3);
});

test('a layer that does not repeat leaves it to the one inside', async () => {
  const work = failing(2);
  const outer = retryOf({ safe: false });
  expect(await outcome(outer.run(() => retryOf().run(work)))).toBe(3);
});

test('neighbours, and what outlives its call, repeat for themselves', async () => {
  const inner = retryOf();
  const [first, second] = [failing(1), failing(1)];
  await outcome(Promise.all([retryOf().run(first), inner.run(second)]));
  expect([first.calls, second.calls]).toEqual([2, 2]);

  const left = failing(2);
  let background: Promise<number> | undefined;
  await outcome(
    retryOf().run(async ({ number }) => {
      if (number === 1) throw busy();
      background = clock.sleep(500).then(() => inner.run(left));
    }),
  );
  expect(await outcome(background!)).toBe(3);
});

test('the budget is spent: the last error, and a refusal on the channel', async () => {
  const seen: RefusalMessage[] = [];
  stops.push(refusals.subscribe((message) => seen.push(message)));
  const scope = {};
  const budget = createRetryBudget({ minPerSecond: 0, clock });
  const retry = retryOf({ budget, scope });
  const error = busy();
  const work = failing(9, error);
  expect(await outcome(retry.run(work))).toBe(error);
  expect(work.calls).toBe(1);
  expect(seen).toEqual([
    { scope, policy: 'retry-budget', name: 'stock', reason: 'no retry: the budget is spent' },
  ]);
  expect(budget.state()).toMatchObject({ spent: 0, refused: 1 });
});

test('each repetition is told on the channel, with its error', async () => {
  const seen: RetryMessage[] = [];
  stops.push(retries.subscribe((message) => seen.push(message)));
  const error = busy();
  const retry = retryOf();
  await outcome(retry.run(failing(2, error)));
  expect(seen).toEqual([
    { scope: retry, name: 'stock', kind: 'retry', attempt: 2, delayMs: 25, error },
    { scope: retry, name: 'stock', kind: 'retry', attempt: 3, delayMs: 50, error },
  ]);
});

test('each attempt runs in the context of the caller', async () => {
  const context = createContext();
  const seen: unknown[] = [];
  const running = runInContext(context, () =>
    retryOf({ hedge: { delayMs: 5 } }).run(async ({ number }) => {
      seen.push(currentContext());
      await clock.sleep(20);
      if (number < 3) throw busy();
    }),
  );
  await outcome(running);
  expect(seen).toEqual([context, context, context]);
});

test('a way of one’s own to tell what is retryable does not reach what was cancelled or may be committed', async () => {
  const retry = retryOf({ retryable: () => true });
  expect(await outcome(retry.run(failing(1, new Error('flaky'))))).toBe(2);
  for (const error of [
    new PlimsollError('PL_COMMIT_UNKNOWN', 'lost'),
    new PlimsollError('PL_ABORTED', 'gone'),
    new DOMException('gone', 'AbortError'),
  ]) {
    const work = failing(1, error);
    expect(await outcome(retry.run(work))).toBe(error);
    expect(work.calls).toBe(1);
  }
});

test('every problem of the options is told at once', () => {
  const bad = {
    name: '',
    attempts: 1,
    baseMs: -1,
    maxMs: NaN,
    maxRetryAfterMs: Infinity,
    hedge: { delayMs: -1 },
  };
  expect(() => createRetry(bad)).toThrow(
    /name: .*baseMs: .*maxMs: .*maxRetryAfterMs: .*hedge.delayMs: .*attempts: /s,
  );
  expect(() => createRetryBudget({ ratio: 2, minPerSecond: -1, maxSaved: 0 })).toThrow(
    /ratio: .*minPerSecond: .*maxSaved: /s,
  );
});
