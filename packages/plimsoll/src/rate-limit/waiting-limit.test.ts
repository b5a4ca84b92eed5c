import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { failureKind } from '../kernel/failure-kind.ts';
import { memoryStore } from './memory-store.ts';
import { createWaitingLimit, type WaitingLimit, type WaitingLimitOptions } from './waiting-limit.ts';

/** The time that the faked timers keep. */
const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
});

/** 10 a second, 2 at once. */
const toBank = (options: Partial<WaitingLimitOptions> = {}): WaitingLimit =>
  createWaitingLimit({
    name: 'bank',
    rules: [{ kind: 'rate', name: 'calls', limit: 10, perMs: 1_000, burst: 2 }],
    clock,
    ...options,
  });

/** When each was granted or refused, since now. */
function follow(limit: WaitingLimit, costs: readonly number[]): { readonly log: string[] } {
  const log: string[] = [];
  const startedMs = Date.now();
  for (const [index, cost] of costs.entries())
    limit.acquire(cost).then(
      () => log.push(`${index} at ${Date.now() - startedMs}`),
      (error: { code: string }) => log.push(`${index} ${error.code} at ${Date.now() - startedMs}`),
    );
  return { log };
}

test('calls wait their turn in the order they came, at the rate', async () => {
  const limit = toBank();
  const { log } = follow(limit, [1, 1, 1, 1, 1]);
  await vi.advanceTimersByTimeAsync(0);
  expect(limit.state()).toEqual({ name: 'bank', waiting: 3, maxWaiting: 1_000 });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(log).toEqual(['0 at 0', '1 at 0', '2 at 100', '3 at 200', '4 at 300']);
  expect(limit.state().waiting).toBe(0);
});

test('a large call is not overtaken by small ones that came later', async () => {
  const limit = toBank();
  const { log } = follow(limit, [2, 2, 1]);
  await vi.advanceTimersByTimeAsync(150);
  // A point is there, which belongs to the first in line.
  const late = follow(limit, [1]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect([...log, ...late.log]).toEqual(['0 at 0', '1 at 200', '2 at 300', '0 at 250']);
});

test('who cannot have his turn in time hears so at once, and who may not wait does not', async () => {
  const limit = toBank({ maxWaitMs: 250, maxWaiting: 2 });
  const { log } = follow(limit, [1, 1, 1, 1, 1]);
  await vi.advanceTimersByTimeAsync(0);
  expect(log).toEqual(['0 at 0', '1 at 0', '4 PL_QUEUE_FULL at 0']);
  const slow = toBank({ maxWaitMs: 250 });
  const second = follow(slow, [1, 1, 1, 1, 1, 1]);
  await vi.advanceTimersByTimeAsync(0);
  expect(second.log).toEqual(['0 at 0', '1 at 0', '4 PL_QUEUE_FULL at 0', '5 PL_QUEUE_FULL at 0']);
  const refused = await slow.acquire().catch((error: unknown) => error);
  expect(failureKind(refused)).toBe('refused');
  expect(refused).toMatchObject({
    message: 'bank refused: its turn comes in 300 ms at the soonest, and it may wait 250 ms',
    data: { name: 'bank', waiting: 2, retryAfterMs: 300 },
  });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(second.log.slice(4)).toEqual(['2 at 100', '3 at 200']);
});

describe('the context ends a wait', () => {
  test('at its deadline: at once when the turn comes later than that', async () => {
    const limit = toBank();
    await Promise.all([limit.acquire(), limit.acquire()]);
    const within = (ms: number): Promise<unknown> =>
      runInContext(createContext({ deadlineAtMs: Date.now() + ms }), () =>
        limit.acquire().catch((error: unknown) => error),
      );
    expect(await within(50)).toMatchObject({ code: 'PL_QUEUE_FULL' });
    const kept = within(150);
    await vi.advanceTimersByTimeAsync(100);
    expect(await kept).toBeUndefined();
    expect(
      await runInContext(createContext({ deadlineAtMs: Date.now() }), () =>
        limit.acquire().catch((error: unknown) => error),
      ),
    ).toMatchObject({
      code: 'PL_DEADLINE',
    });
  });

  test('by cancellation: the turn goes to the next, and nothing is lost', async () => {
    const limit = toBank();
    await Promise.all([limit.acquire(), limit.acquire()]);
    const gone = new AbortController();
    const left = runInContext(createContext({ signal: gone.signal }), () =>
      limit.acquire().catch((error: unknown) => error),
    );
    const { log } = follow(limit, [1, 1]);
    gone.abort();
    expect(await left).toMatchObject({ code: 'PL_ABORTED' });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(log).toEqual(['0 at 100', '1 at 200']);
  });
});

test('who leaves with a large call does not hold up the small one behind it', async () => {
  const limit = toBank();
  await limit.acquire(2);
  const gone = new AbortController();
  const left = runInContext(createContext({ signal: gone.signal }), () =>
    limit.acquire(2).catch((error: { code: string }) => error.code),
  );
  const { log } = follow(limit, [1]);
  await vi.advanceTimersByTimeAsync(120);
  gone.abort();
  await vi.advanceTimersByTimeAsync(0);
  expect([await left, ...log]).toEqual(['PL_ABORTED', '0 at 120']);
});

test('nobody left to wait leaves no timer', async () => {
  const limit = toBank({ rules: [{ kind: 'quota', name: 'day', limit: 1, per: 'month' }], maxWaitMs: 100 });
  await limit.acquire();
  const refused = limit.acquire().catch((error: { code: string }) => error.code);
  await vi.advanceTimersByTimeAsync(100);
  expect(await refused).toBe('PL_QUEUE_FULL');
  await vi.advanceTimersByTimeAsync(0);
  expect(vi.getTimerCount()).toBe(0);
  expect(limit.state().waiting).toBe(0);
});

test('run does the work at its turn; what never passes is told', async () => {
  const limit = toBank();
  const done = Promise.all([1, 2, 3].map((n) => limit.run(() => Promise.resolve(n * 2))));
  await vi.advanceTimersByTimeAsync(100);
  expect(await done).toEqual([2, 4, 6]);
  await expect(limit.acquire(3)).rejects.toThrow('a cost of 3 points never passes bank, which has 2 at once');
  expect(() => toBank({ maxWaiting: 0, maxWaitMs: 0.5 })).toThrow(/maxWaiting: .*\n.*maxWaitMs: /);
});

test('a turn that a store grants to one who has left goes to the next', async () => {
  const here = memoryStore();
  const answers: (() => void)[] = [];
  const limit = toBank({
    whenStoreFails: 'closed',
    storeTimeoutMs: 10_000,
    store: {
      shared: true,
      open(options) {
        const counters = here.open(options);
        return {
          async take(keys, cost) {
            const decision = await counters.take(keys, cost);
            await new Promise<void>((resolve) => answers.push(resolve));
            return decision;
          },
          reset: (keys) => counters.reset(keys),
        };
      },
    },
  });
  const gone = new AbortController();
  const left = runInContext(createContext({ signal: gone.signal }), () =>
    limit.acquire().catch((error: { code: string }) => error.code),
  );
  const { log } = follow(limit, [1]);
  await vi.advanceTimersByTimeAsync(0);
  expect(answers).toHaveLength(1);
  gone.abort();
  expect(await left).toBe('PL_ABORTED');
  answers.pop()?.();
  await vi.advanceTimersByTimeAsync(0);
  expect(log).toEqual(['0 at 0']);
  expect(answers).toHaveLength(0);
});
