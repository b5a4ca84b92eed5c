import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { refusals, type RefusalMessage } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { failureKind } from '../kernel/failure-kind.ts';
// The page shows this as users write it.
// #region usage
import { createBulkhead } from 'plimsoll/bulkhead';

const bank = createBulkhead({ name: 'bank', max: 10, maxWaiting: 20, maxWaitMs: 500 });

async function charge(
  order: string,
  pay: (order: string, signal: AbortSignal) => Promise<string>,
): Promise<string> {
  return bank.run(({ signal }) => pay(order, signal));
}
// #endregion

/** The time that the faked timers keep. */
const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };
const told: RefusalMessage[] = [];
let unsubscribe: () => void;
beforeEach(() => {
  vi.useFakeTimers();
  told.length = 0;
  unsubscribe = refusals.subscribe((message) => told.push(message));
});
afterEach(() => {
  unsubscribe();
  vi.useRealTimers();
});

const turns = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
const never = (): Promise<never> => new Promise(() => undefined);
const mustNotRun = (): Promise<never> => {
  throw new Error('must not run');
};

test('the usage on the page: settles as the call does', async () => {
  await expect(charge('o1', (order) => Promise.resolve(`paid ${order}`))).resolves.toBe('paid o1');
  await expect(charge('o2', () => Promise.reject(new Error('no funds')))).rejects.toThrow('no funds');
  expect(bank.state()).toMatchObject({ name: 'bank', active: 0, max: 10, waiting: 0, refused: 0 });
});

test('a call is refused at once when all permits are taken and the line is full', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 2, maxWaiting: 1, clock });
  for (let call = 0; call < 3; call += 1) void bulkhead.run(never);
  const refused: unknown = await bulkhead.run(mustNotRun).catch((error: unknown) => error);
  expect(refused).toMatchObject({
    code: 'PL_BULKHEAD_FULL',
    message:
      'bulkhead bank: 2 of 2 permits are taken and 1 of 1 calls wait; try again in about 1000 ms, or raise max if what it guards can take more',
    data: { name: 'bank', retryAfterMs: 1_000, active: 2, max: 2, waiting: 1, maxWaiting: 1 },
  });
  expect(told).toEqual([{ scope: bulkhead, policy: 'bulkhead', name: 'bank', reason: 'full' }]);
});

test('a refusal does not count against what is guarded', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1, maxWaiting: 0 });
  void bulkhead.run(never);
  expect(failureKind(await bulkhead.run(mustNotRun).catch((error: unknown) => error))).toBe('refused');
});

test('state tells what is under way and what waits, through every change', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 2, maxWaiting: 2, clock });
  const calls = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
  const counts = (): unknown => [bulkhead.state().active, bulkhead.state().waiting];
  const seen = [counts()];
  for (const { promise } of calls) {
    void bulkhead.run(() => promise);
    seen.push(counts());
  }
  vi.advanceTimersByTime(30);
  expect(bulkhead.state().oldestMs).toBe(30);
  for (const { resolve } of calls) {
    resolve();
    await turns();
    seen.push(counts());
  }
  expect(seen).toEqual([
    [0, 0],
    [1, 0],
    [2, 0],
    [2, 1],
    [2, 2],
    [2, 1],
    [2, 0],
    [1, 0],
    [0, 0],
  ]);
});

test('a permit comes back when the call resolves, rejects, throws at once or returns no promise', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1, maxWaiting: 0 });
  await bulkhead.run(() => Promise.resolve());
  await expect(bulkhead.run(() => Promise.reject(new Error('away')))).rejects.toThrow('away');
  await expect(bulkhead.run(mustNotRun)).rejects.toThrow('must not run');
  await expect(bulkhead.run((() => 5) as never)).resolves.toBe(5);
  expect(bulkhead.state().active).toBe(0);
});

test('tryAcquire takes what is free and never waits; acquire waits', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 2, clock });
  const [first, second] = [bulkhead.tryAcquire(), bulkhead.tryAcquire()];
  expect([typeof first, typeof second, bulkhead.tryAcquire()]).toEqual(['function', 'function', undefined]);
  const third = bulkhead.acquire();
  await turns();
  expect(bulkhead.state()).toMatchObject({ active: 2, waiting: 1 });
  first!();
  const release = await third;
  expect(bulkhead.tryAcquire(), 'the one that waited has it').toBeUndefined();
  release();
  second!();
  expect(bulkhead.state()).toMatchObject({ active: 0, waiting: 0, refused: 0 });
});

test('a permit is given back once, however often it is released', () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 2 });
  const release = bulkhead.tryAcquire(2)!;
  release();
  release();
  expect(bulkhead.state().active).toBe(0);
  expect(bulkhead.tryAcquire(2)).toBeDefined();
  expect(bulkhead.tryAcquire()).toBeUndefined();
});

test('a call waits no longer than maxWaitMs, is then never made, and its place is free', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1, maxWaiting: 1, maxWaitMs: 50, clock });
  const release = bulkhead.tryAcquire()!;
  const late = expect(bulkhead.run(mustNotRun)).rejects.toMatchObject({
    code: 'PL_BULKHEAD_FULL',
    message: expect.stringContaining('waited 50 ms for a permit, as long as maxWaitMs allows'),
  });
  await vi.advanceTimersByTimeAsync(49);
  expect(bulkhead.state().waiting).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  await late;
  expect(bulkhead.state()).toMatchObject({ waiting: 0, refused: 1 });
  const next = bulkhead.run(() => Promise.resolve('made'));
  release();
  await expect(next).resolves.toBe('made');
});

test('a call cancelled or out of time while it waits ends with that, not as full', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1, maxWaitMs: 1_000, clock });
  void bulkhead.run(never);
  const caller = new AbortController();
  const cancelled = runInContext(createContext({ signal: caller.signal }), () => bulkhead.run(mustNotRun));
  const within = createContext({ deadlineAtMs: clock.monotonicMs() + 20 });
  const late = runInContext(within, () => bulkhead.acquire());
  const both = Promise.all([
    expect(cancelled).rejects.toMatchObject({ code: 'PL_ABORTED' }),
    expect(late).rejects.toMatchObject({ code: 'PL_DEADLINE' }),
  ]);
  caller.abort();
  await vi.advanceTimersByTimeAsync(20);
  await both;
  expect(bulkhead.state()).toMatchObject({ active: 1, waiting: 0, refused: 2 });
  expect(told.map(({ reason }) => reason)).toEqual(['nobody waits any more', 'nobody waits any more']);
});

test('a call whose caller has gone is never made, though a permit is free; one out of time does not wait', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1, clock });
  const gone = createContext({ signal: AbortSignal.abort() });
  await expect(runInContext(gone, () => bulkhead.run(mustNotRun))).rejects.toMatchObject({
    code: 'PL_ABORTED',
  });
  bulkhead.tryAcquire();
  const over = createContext({ deadlineAtMs: clock.monotonicMs() });
  await expect(runInContext(over, () => bulkhead.run(mustNotRun))).rejects.toMatchObject({
    code: 'PL_DEADLINE',
  });
  expect(bulkhead.state()).toMatchObject({ active: 1, waiting: 0, refused: 2 });
});

test('a heavy call is not overtaken by light ones that would fit, and gives way when it gives up', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 3, maxWaitMs: 50, clock });
  const [one, other] = [bulkhead.tryAcquire()!, bulkhead.tryAcquire()!];
  const order: string[] = [];
  const heavy = bulkhead.acquire(3).catch(() => order.push('heavy gave up'));
  vi.advanceTimersByTime(10);
  void bulkhead.run(() => Promise.resolve(order.push('light')));
  expect(bulkhead.tryAcquire(), 'one is free, but not for a newcomer').toBeUndefined();
  one();
  await turns();
  expect(order).toEqual([]);
  await vi.advanceTimersByTimeAsync(40);
  await heavy;
  // Told in this order though the light one began as the heavy one left.
  expect(order.toSorted()).toEqual(['heavy gave up', 'light']);
  const again = bulkhead.acquire(3).then(() => order.push('heavy'));
  void bulkhead.run(() => Promise.resolve(order.push('later')));
  other();
  await again;
  expect(order.slice(2)).toEqual(['heavy']);
});

test('newest first, too, who is next stays next: a heavy call is passed neither by newer ones nor when others leave', async () => {
  const order = 'newest-first-when-full';
  const bulkhead = createBulkhead({ name: 'bank', max: 3, maxWaiting: 4, order, clock });
  const [one, rest] = [bulkhead.tryAcquire()!, bulkhead.tryAcquire(2)!];
  const started: string[] = [];
  const callers = [new AbortController(), new AbortController()];
  const cancelled = callers.map(({ signal }) =>
    runInContext(createContext({ signal }), () => bulkhead.run(mustNotRun)).catch(() =>
      started.push('cancelled'),
    ),
  );
  void bulkhead.run(() => Promise.resolve(started.push('old')));
  void bulkhead.run(() => Promise.resolve(started.push('heavy')), 3);
  one();
  callers[0]!.abort();
  void bulkhead.run(() => Promise.resolve(started.push('newest')));
  callers[1]!.abort();
  await Promise.all(cancelled);
  await turns();
  expect(started, 'one permit is free, and kept for the heavy one').toEqual(['cancelled', 'cancelled']);
  rest();
  await bulkhead.drain();
  expect(started.slice(2)).toEqual(['heavy', 'old', 'newest']);
});

test('a request is not kept by a call that waited for it', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1, clock });
  const context = createContext({ signal: new AbortController().signal });
  const { cancellation } = context;
  const [added, removed] = [vi.spyOn(cancellation!, 'add'), vi.spyOn(cancellation!, 'remove')];
  const release = bulkhead.tryAcquire()!;
  const call = runInContext(context, () => bulkhead.run(() => Promise.resolve()));
  expect([added.mock.calls.length, removed.mock.calls.length]).toEqual([1, 0]);
  release();
  await call;
  expect(removed.mock.calls).toEqual([[added.mock.results[0]!.value]]);
});

test('once the line is full the newest is next, until it is half empty', async () => {
  const options = { name: 'bank', max: 1, maxWaiting: 4, clock } as const;
  const served = async (order: 'fifo' | 'newest-first-when-full', calls: number): Promise<number[]> => {
    const bulkhead = createBulkhead({ ...options, order });
    const release = bulkhead.tryAcquire()!;
    const started: number[] = [];
    for (let call = 1; call <= calls; call += 1) void bulkhead.run(() => Promise.resolve(started.push(call)));
    release();
    await bulkhead.drain();
    return started;
  };
  await expect(served('fifo', 4)).resolves.toEqual([1, 2, 3, 4]);
  await expect(served('newest-first-when-full', 3)).resolves.toEqual([1, 2, 3]);
  await expect(served('newest-first-when-full', 4)).resolves.toEqual([4, 3, 1, 2]);
});

test('retryAfterMs follows how fast calls end', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1, maxWaiting: 0, clock });
  const refusedAfter = async (): Promise<unknown> => {
    const error: unknown = await bulkhead.run(mustNotRun).catch((refusal: unknown) => refusal);
    return (error as { data: { retryAfterMs: number } }).data.retryAfterMs;
  };
  let release = bulkhead.tryAcquire()!;
  expect(await refusedAfter()).toBe(1_000);
  for (let call = 0; call < 5; call += 1) {
    vi.advanceTimersByTime(100);
    release();
    release = bulkhead.tryAcquire()!;
  }
  expect(await refusedAfter()).toBe(100);
});

test('a call that waited runs in the async context of its caller, with the signal of its request', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1 });
  const release = bulkhead.tryAcquire()!;
  const caller = new AsyncLocalStorage<string>();
  const { signal } = new AbortController();
  const context = createContext({ signal });
  const seen = runInContext(context, () =>
    caller.run('mine', () => bulkhead.run((attempt) => Promise.resolve([caller.getStore(), attempt.signal]))),
  );
  caller.run('another', release);
  await expect(seen).resolves.toEqual(['mine', context.signal]);
});

test('drain resolves when nothing is under way and nobody waits, and refuses nothing', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1 });
  await bulkhead.drain();
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  void bulkhead.run(() => first.promise);
  let drained = 0;
  const both = [bulkhead.drain(), bulkhead.drain()].map((drain) => drain.then(() => (drained += 1)));
  void bulkhead.run(() => second.promise);
  first.resolve();
  await turns();
  expect(drained).toBe(0);
  second.resolve();
  await Promise.all(both);
  expect(bulkhead.state()).toMatchObject({ active: 0, waiting: 0, refused: 0 });
});

test('ten thousand calls that wait share one timer', async () => {
  const bulkhead = createBulkhead({ name: 'bank', max: 1, maxWaiting: 10_000, clock });
  const release = bulkhead.tryAcquire()!;
  for (let call = 0; call < 10_000; call += 1) void bulkhead.run(() => Promise.resolve());
  expect(vi.getTimerCount()).toBe(1);
  release();
  await bulkhead.drain();
  expect(bulkhead.state().refused).toBe(0);
});

test('every option that is not allowed is named at once; so is a weight that would never fit', async () => {
  const bad = { name: '', max: 0, maxWaiting: Infinity, maxWaitMs: 0, order: 'lifo' as never };
  expect(() => createBulkhead(bad)).toThrow(
    expect.objectContaining({
      code: 'PL_CONFIG',
      data: {
        problems: ['name', 'max', 'maxWaiting', 'maxWaitMs', 'order'].map((path) =>
          expect.objectContaining({ path }),
        ),
      },
    }),
  );
  const bulkhead = createBulkhead({ name: 'bank', max: 2 });
  expect(() => bulkhead.tryAcquire(3)).toThrow('weight: is 3; give an integer from 1 to max, which is 2');
  for (const weight of [0, 1.5, -1, Number.NaN, 3])
    await expect(bulkhead.run(mustNotRun, weight)).rejects.toMatchObject({ code: 'PL_CONFIG' });
});
