import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Attempt } from '../kernel/attempt.ts';
import { Cancellation } from '../kernel/cancellation.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { createTimeout, type Timeout } from './timeout.ts';

/** The time that the faked timers keep. */
const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };
const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown): void => void unhandled.push(reason);
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  process.on('unhandledRejection', onUnhandled);
});
afterEach(async () => {
  vi.useRealTimers();
  // Node tells of unhandled rejections after the microtasks of a turn.
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', onUnhandled);
  expect(unhandled.splice(0)).toEqual([]);
});

const bankOf = (ms = 100): Timeout => createTimeout({ name: 'bank', ms, clock });
const hang = (): Promise<never> => new Promise(() => undefined);
const outcome = async (running: Promise<unknown>): Promise<unknown> =>
  running.then(
    (value) => value,
    (error: unknown) => (error as { code?: string }).code ?? error,
  );

test('settles as the work does: a value, an error, a synchronous throw', async () => {
  const bank = bankOf();
  const failure = new Error('declined');
  await expect(bank.run(async () => 7)).resolves.toBe(7);
  await expect(bank.run(() => Promise.reject(failure))).rejects.toBe(failure);
  await expect(
    bank.run(() => {
      throw failure;
    }),
  ).rejects.toBe(failure);
  expect(bank.state()).toEqual({ name: 'bank', ms: 100, inFlight: 0, timedOut: 0, pastDeadline: 0 });
});

test('rejects with PL_TIMEOUT when the time is up, whether or not the work looks at its signal', async () => {
  const bank = bankOf();
  const running = bank.run(hang);
  const told = expect(running).rejects.toMatchObject({
    code: 'PL_TIMEOUT',
    message: expect.stringContaining('bank did not answer within its 100 ms') as string,
    data: { name: 'bank', timeoutMs: 100 },
  });
  vi.advanceTimersByTime(99);
  expect(bank.state().inFlight).toBe(1);
  vi.advanceTimersByTime(2);
  await told;
  expect(bank.state()).toMatchObject({ inFlight: 0, timedOut: 1 });
});

test('the signal aborts with the timeout, for work that reads it before or after', async () => {
  let attempt: Attempt | undefined;
  const early = bankOf().run((given) => {
    attempt = given;
    expect(given.signal.aborted).toBe(false);
    return hang();
  });
  const late: Attempt[] = [];
  const other = bankOf().run((given) => {
    late.push(given);
    return hang();
  });
  vi.advanceTimersByTime(101);
  expect(await outcome(early)).toBe('PL_TIMEOUT');
  expect(await outcome(other)).toBe('PL_TIMEOUT');
  expect(attempt?.signal.reason).toMatchObject({ code: 'PL_TIMEOUT' });
  expect(late[0]?.signal.reason).toMatchObject({ code: 'PL_TIMEOUT' });
});

test('the signal never aborts on success or failure, not even later', async () => {
  const signals: AbortSignal[] = [];
  const attempts: Attempt[] = [];
  const bank = bankOf();
  await bank.run(async (attempt) => signals.push(attempt.signal));
  await outcome(
    bank.run((attempt) => {
      signals.push(attempt.signal);
      return Promise.reject(new Error('declined'));
    }),
  );
  await bank.run(async (attempt) => attempts.push(attempt));
  vi.advanceTimersByTime(1_000);
  signals.push(attempts[0]!.signal);
  expect(signals.map((signal) => signal.aborted)).toEqual([false, false, false]);
});

test('a late result and a late rejection of timed out work are ignored', async () => {
  const bank = bankOf();
  const { promise: value, resolve } = Promise.withResolvers<number>();
  const { promise: failure, reject } = Promise.withResolvers<number>();
  const running = [bank.run(() => value), bank.run(() => failure)];
  vi.advanceTimersByTime(101);
  expect(await Promise.all(running.map(outcome))).toEqual(['PL_TIMEOUT', 'PL_TIMEOUT']);
  resolve(1);
  reject(new Error('late'));
  await Promise.allSettled([value, failure]);
  expect(bank.state()).toMatchObject({ inFlight: 0, timedOut: 2 });
});

test('the deadline of the request comes first: PL_DEADLINE, at that time', async () => {
  const bank = bankOf(100);
  const context = createContext({ deadlineAtMs: clock.monotonicMs() + 40, path: ['orders.place'] });
  const running = runInContext(context, () => bank.run(hang));
  const told = expect(running).rejects.toMatchObject({
    code: 'PL_DEADLINE',
    message: expect.stringContaining('orders.place') as string,
  });
  vi.advanceTimersByTime(41);
  await told;
  expect(bank.state()).toMatchObject({ timedOut: 0, pastDeadline: 1 });
});

test('with more time left than it may take, its own time holds', async () => {
  const context = createContext({ deadlineAtMs: clock.monotonicMs() + 1_000 });
  const running = runInContext(context, () => bankOf(100).run(hang));
  vi.advanceTimersByTime(101);
  expect(await outcome(running)).toBe('PL_TIMEOUT');
});

test('nothing left: refused at once, and the work is not begun', async () => {
  const work = vi.fn<() => Promise<never>>(hang);
  const over = createContext({ deadlineAtMs: clock.monotonicMs() });
  expect(await outcome(runInContext(over, () => bankOf().run(work)))).toBe('PL_DEADLINE');
  const gone = new Cancellation();
  gone.cancel('socket closed');
  const left = createContext({ cancellation: gone });
  expect(await outcome(runInContext(left, () => bankOf().run(work)))).toBe('PL_ABORTED');
  expect(work).not.toHaveBeenCalled();
});

test('the caller goes away: PL_ABORTED at once, with the reason, and the signal aborts', async () => {
  const cancellation = new Cancellation();
  let signal: AbortSignal | undefined;
  const running = runInContext(createContext({ cancellation }), () =>
    bankOf().run((attempt) => {
      signal = attempt.signal;
      return hang();
    }),
  );
  const told = expect(running).rejects.toMatchObject({ code: 'PL_ABORTED', cause: 'socket closed' });
  cancellation.cancel('socket closed');
  await told;
  expect(signal?.reason).toMatchObject({ code: 'PL_ABORTED' });
  expect(vi.getTimerCount()).toBe(1);
});

test('cancelled by the work itself before it returns is heard too', async () => {
  const cancellation = new Cancellation();
  const running = runInContext(createContext({ cancellation }), () =>
    bankOf().run(() => {
      cancellation.cancel('enough');
      return hang();
    }),
  );
  expect(await outcome(running)).toBe('PL_ABORTED');
});

test('nested: the shorter one tells first, and the outer signal reaches the inner attempt', async () => {
  const outer = bankOf(50);
  const inner = bankOf(100);
  let signal: AbortSignal | undefined;
  const running = outer.run((attempt) =>
    inner.run((nested) => {
      signal = nested.signal;
      return hang();
    }, attempt),
  );
  vi.advanceTimersByTime(51);
  expect(await outcome(running)).toBe('PL_TIMEOUT');
  expect(signal?.aborted).toBe(true);
  // The inner attempt has no more time than the outer one.
  expect(inner.state()).toMatchObject({ inFlight: 0, pastDeadline: 1 });

  const slowOuter = bankOf(100);
  const quick = bankOf(50);
  const nested = slowOuter.run((attempt) => quick.run(hang, attempt));
  vi.advanceTimersByTime(51);
  expect(await outcome(nested)).toBe('PL_TIMEOUT');
  expect([slowOuter.state().timedOut, quick.state().timedOut]).toEqual([0, 1]);
});

test('an attempt that has ended does not stay with the signal around it', async () => {
  const around = new AbortController();
  const within: Attempt = { number: 2, signal: around.signal };
  const seen: number[] = [];
  await bankOf().run(async (attempt) => {
    seen.push(attempt.number);
    expect(attempt.signal.aborted).toBe(false);
    expect(getEventListeners(around.signal, 'abort')).toHaveLength(1);
  }, within);
  expect(seen).toEqual([2]);
  expect(getEventListeners(around.signal, 'abort')).toHaveLength(0);
  const thrown = bankOf().run((attempt) => {
    expect(attempt.signal.aborted).toBe(false);
    throw new Error('at once');
  }, within);
  await expect(thrown).rejects.toThrow('at once');
  expect(getEventListeners(around.signal, 'abort')).toHaveLength(0);
});

test('the attempt says whether a guard around it repeats', async () => {
  const { signal } = new AbortController();
  const repeats = (within?: Attempt): Promise<unknown> =>
    bankOf().run(async (attempt) => attempt.repeats, within);
  expect(await repeats({ number: 1, signal, repeats: true })).toBe(true);
  expect(await repeats({ number: 1, signal })).toBeUndefined();
  expect(await repeats()).toBeUndefined();
});

test('a thousand calls under way share one timer, and leave nothing with the caller', async () => {
  const cancellation = new Cancellation();
  const removed = vi.spyOn(cancellation, 'remove');
  const bank = bankOf();
  const { promise, resolve } = Promise.withResolvers<void>();
  const running = runInContext(createContext({ cancellation }), () =>
    Array.from({ length: 1_000 }, () => bank.run(() => promise)),
  );
  expect(vi.getTimerCount()).toBe(1);
  expect(bank.state().inFlight).toBe(1_000);
  resolve();
  await Promise.all(running);
  expect(bank.state()).toMatchObject({ inFlight: 0 });
  expect(removed).toHaveBeenCalledTimes(1_000);
  cancellation.cancel('gone');
  vi.advanceTimersByTime(1_000);
  expect(bank.state()).toMatchObject({ timedOut: 0 });
  expect(vi.getTimerCount()).toBe(0);
});

test('every problem of the options is told at once', () => {
  expect(() => createTimeout({ name: '', ms: 0 })).toThrow(/name: .*\n {2}ms: is 0/s);
  for (const ms of [-1, NaN, Infinity, 2 ** 31])
    expect(() => createTimeout({ name: 'bank', ms })).toThrow(/ms/);
});
