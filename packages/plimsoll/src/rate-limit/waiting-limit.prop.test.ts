import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { createWaitingLimit } from './waiting-limit.ts';

/** The time that the faked timers keep. */
const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };
beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
});

interface Call {
  readonly cost: number;
  readonly arrivedMs: number;
  readonly leavesMs: number;
  readonly gone: AbortController;
  outcome: 'waits' | 'granted' | 'PL_QUEUE_FULL' | 'PL_ABORTED';
  endedMs: number;
}

test('turns are in order, as early as the rate allows and never earlier; everybody hears, and nothing is left', async () => {
  const aCall = fc.record({
    afterMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 40 })),
    cost: fc.integer({ min: 1, max: 4 }),
    patienceMs: fc.oneof(fc.constant(Infinity), fc.integer({ min: 0, max: 120 })),
  });
  const aLimit = fc.record({
    intervalMs: fc.integer({ min: 1, max: 25 }),
    burst: fc.integer({ min: 4, max: 6 }),
    maxWaiting: fc.integer({ min: 1, max: 12 }),
    maxWaitMs: fc.integer({ min: 1, max: 300 }),
  });
  await fc.assert(
    fc.asyncProperty(
      aLimit,
      fc.array(aCall, { maxLength: 40 }),
      async ({ intervalMs, burst, ...bounds }, given) => {
        const limit = createWaitingLimit({
          name: 'model',
          rules: [{ kind: 'rate', name: 'all', limit: 1, perMs: intervalMs, burst }],
          clock,
          ...bounds,
        });
        const calls: Call[] = [];
        const step = async (): Promise<void> => {
          for (const call of calls)
            if (call.outcome === 'waits' && Date.now() >= call.leavesMs) call.gone.abort();
          expect(limit.state().waiting).toBeLessThanOrEqual(bounds.maxWaiting);
          await vi.advanceTimersByTimeAsync(1);
        };
        for (const { afterMs, cost, patienceMs } of given) {
          for (let ms = 0; ms < afterMs; ms += 1) await step();
          const gone = new AbortController();
          const nowMs = Date.now();
          const call: Call = {
            cost,
            arrivedMs: nowMs,
            leavesMs: nowMs + patienceMs,
            gone,
            outcome: 'waits',
            endedMs: 0,
          };
          calls.push(call);
          const end = (outcome: Call['outcome']): void => {
            call.outcome = outcome;
            call.endedMs = Date.now();
          };
          runInContext(createContext({ signal: gone.signal }), () => limit.acquire(cost)).then(
            () => end('granted'),
            (error: { code: Call['outcome'] }) => end(error.code),
          );
          await vi.advanceTimersByTimeAsync(0);
        }
        for (let ms = 0; ms <= bounds.maxWaitMs + 2; ms += 1) await step();

        // What is granted at a time, by the bucket without its arithmetic.
        const granted = calls.filter(({ outcome }) => outcome === 'granted');
        const allows = (past: readonly Call[], cost: number, atMs: number): boolean => {
          let sum = cost;
          for (const earlier of past.toReversed()) {
            sum += earlier.cost;
            if ((sum - burst) * intervalMs > atMs - earlier.endedMs) return false;
          }
          return cost <= burst;
        };
        for (const [index, call] of granted.entries()) {
          const past = granted.slice(0, index);
          expect(allows(past, call.cost, call.endedMs)).toBe(true);
          expect(call.endedMs).toBeGreaterThanOrEqual(past.at(-1)?.endedMs ?? 0);
          expect(call.endedMs - call.arrivedMs).toBeLessThanOrEqual(bounds.maxWaitMs);
          // Nobody was before it a moment ago, so it could not have had its turn then.
          const before = calls.slice(0, calls.indexOf(call)).map(({ endedMs }) => endedMs);
          const firstSinceMs = Math.max(call.arrivedMs, ...before);
          if (call.endedMs - 1 > firstSinceMs) expect(allows(past, call.cost, call.endedMs - 2)).toBe(false);
        }
        expect(calls.map(({ outcome }) => outcome)).not.toContain('waits');
        expect(limit.state().waiting).toBe(0);
        expect(vi.getTimerCount()).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
});
