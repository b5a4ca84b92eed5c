import { setImmediate as nextTurn } from 'node:timers/promises';
import * as fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import type { Clock } from './clock.ts';
import {
  assertAlive,
  createContext,
  currentContext,
  enterOperation,
  remainingMs,
  runInContext,
} from './context.ts';
import { beforeDeadline } from './deadline.ts';

function clockAt(start: number): Clock & { ms: number } {
  const clock = {
    ms: start,
    now: () => clock.ms,
    monotonicMs: () => clock.ms,
    sleep: () => Promise.resolve(),
  };
  return clock;
}

test('a deadline only comes closer, however operations are nested', () => {
  fc.assert(
    fc.property(
      fc.option(fc.nat(10_000), { nil: undefined }),
      fc.array(
        fc.record({ timeoutMs: fc.option(fc.nat(10_000), { nil: undefined }), passesMs: fc.nat(500) }),
      ),
      (outerMs, hops) => {
        const clock = clockAt(1_000);
        let context = createContext(outerMs === undefined ? {} : { deadlineAtMs: 1_000 + outerMs });
        for (const [depth, { timeoutMs, passesMs }] of hops.entries()) {
          clock.ms += passesMs;
          const inner = enterOperation(context, `hop.${depth}`, timeoutMs, { clock });
          expect(inner.deadlineAtMs).toBeLessThanOrEqual(context.deadlineAtMs);
          if (timeoutMs !== undefined) expect(remainingMs(inner, clock)).toBeLessThanOrEqual(timeoutMs);
          expect(inner.path).toEqual([...context.path, `hop.${depth}`]);
          expect(inner.correlationId).toBe(context.correlationId);
          context = inner;
        }
      },
    ),
  );
});

test('entering an operation leaves the context of its caller as it was', () => {
  const outer = createContext({ deadlineAtMs: 500, path: ['orders.place'] });
  enterOperation(outer, 'inventory.reserve', 10, { clock: clockAt(0) });
  expect(outer).toMatchObject({ deadlineAtMs: 500, path: ['orders.place'] });
});

test('what is left is never negative, and infinite without a deadline', () => {
  const clock = clockAt(100);
  expect(remainingMs(createContext(), clock)).toBe(Infinity);
  const context = createContext({ deadlineAtMs: 150 });
  expect(remainingMs(context, clock)).toBe(50);
  clock.ms = 1_000;
  expect(remainingMs(context, clock)).toBe(0);
});

test('work is refused exactly from the deadline on', () => {
  const clock = clockAt(99);
  const context = createContext({ deadlineAtMs: 100, path: ['orders.place', 'inventory.reserve'] });
  assertAlive(context, 'statement', clock);
  clock.ms = 100;
  expect(() => assertAlive(context, 'statement', clock)).toThrow(
    expect.objectContaining({
      code: 'PL_DEADLINE',
      message: 'statement: the deadline of orders.place has passed',
      data: { path: ['orders.place', 'inventory.reserve'] },
    }),
  );
});

test('work is refused when the caller has gone, with the reason as cause', () => {
  const caller = new AbortController();
  const context = createContext({ signal: caller.signal });
  assertAlive(context, 'statement');
  const reason = new Error('closed the tab');
  caller.abort(reason);
  expect(() => assertAlive(context, 'statement')).toThrow(
    expect.objectContaining({ code: 'PL_ABORTED', cause: reason }),
  );
});

test('each context has a correlation id and a key of its own', () => {
  const [one, two] = [createContext(), createContext()];
  expect(one.correlationId).not.toBe(two.correlationId);
  expect(one.key).not.toBe(two.key);
  expect(one.seen).not.toBe(two.seen);
});

test('the context follows its own work through awaits, timers and parallel branches', async () => {
  const branch = async (name: string): Promise<(string | undefined)[]> => {
    const seen: (string | undefined)[] = [];
    await runInContext(createContext({ correlationId: name }), async () => {
      seen.push(currentContext()?.correlationId);
      await Promise.resolve();
      seen.push(currentContext()?.correlationId);
      await nextTurn();
      seen.push(currentContext()?.correlationId);
      await runInContext(createContext({ correlationId: `${name}.inner` }), () => nextTurn());
      seen.push(currentContext()?.correlationId);
    });
    return seen;
  };
  const names = ['a', 'b', 'c'];
  expect(await Promise.all(names.map(branch))).toEqual(names.map((name) => Array(4).fill(name)));
  expect(currentContext()).toBeUndefined();
});

test('work that hangs is given up at the deadline', async () => {
  const context = createContext({ deadlineAtMs: performance.now() + 5, path: ['orders.place'] });
  const { promise: hanging } = Promise.withResolvers<never>();
  await expect(beforeDeadline(context, hanging)).rejects.toMatchObject({
    code: 'PL_DEADLINE',
    message: 'orders.place was not done within its time limit',
  });
});

test('work that ends before the deadline is answered as it is, success or failure', async () => {
  const context = createContext({ deadlineAtMs: performance.now() + 60_000 });
  expect(await beforeDeadline(context, Promise.resolve(1))).toBe(1);
  await expect(beforeDeadline(context, Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await beforeDeadline(createContext(), Promise.resolve(2))).toBe(2);
});

test('a deadline further away than a timer can count does not expire at once', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const context = createContext({ deadlineAtMs: Number.MAX_SAFE_INTEGER });
    const work = new Promise<string>((resolve) => setTimeout(() => resolve('done'), 1_000));
    const answered = beforeDeadline(context, work).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await answered).toBe('done');
  } finally {
    vi.useRealTimers();
  }
});
