import * as fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Cancellation } from '../kernel/cancellation.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { createTimeout } from './timeout.ts';

const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
});
afterEach(() => {
  vi.useRealTimers();
});

interface Call {
  readonly workMs: number;
  readonly fails: boolean;
  readonly leftMs: number | undefined;
  readonly cancelMs: number | undefined;
}

/** What must come of it, and when; the earliest wins. Undefined where two come in one millisecond. */
function expectedOf(ms: number, { workMs, fails, leftMs, cancelMs }: Call): [string, number] | undefined {
  const limitMs = Math.min(ms, leftMs ?? Infinity);
  const ends: [string, number][] = [
    [fails ? 'failed' : 'done', workMs],
    [leftMs !== undefined && leftMs <= ms ? 'PL_DEADLINE' : 'PL_TIMEOUT', limitMs],
    ['PL_ABORTED', cancelMs ?? Infinity],
  ];
  const [first, second] = ends.toSorted(([, a], [, b]) => a - b);
  return first === undefined || first[1] === second?.[1] ? undefined : first;
}

test('random works, deadlines and cancellations: each call settles once, as whatever came first, at that time', async () => {
  const time = fc.integer({ min: 1, max: 300 });
  const call = fc.record({
    workMs: time,
    fails: fc.boolean(),
    leftMs: fc.option(time, { nil: undefined }),
    cancelMs: fc.option(time, { nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(time, fc.array(call, { minLength: 1, maxLength: 20 }), async (ms, calls) => {
      const guard = createTimeout({ name: 'bank', ms, clock });
      const startMs = Date.now();
      const settled = calls.map((given) => {
        const cancellation = new Cancellation();
        const deadlineAtMs = given.leftMs === undefined ? undefined : startMs + given.leftMs;
        if (given.cancelMs !== undefined) setTimeout(() => cancellation.cancel('gone'), given.cancelMs);
        const seen: { outcomes: [string, number][]; signal?: AbortSignal } = { outcomes: [] };
        const running = runInContext(createContext({ cancellation, deadlineAtMs }), () =>
          guard.run(({ signal }) => {
            seen.signal = signal;
            return new Promise<string>((resolve, reject) => {
              setTimeout(() => (given.fails ? reject(new Error('failed')) : resolve('done')), given.workMs);
            });
          }),
        );
        void running.then(
          (value) => seen.outcomes.push([value, Date.now() - startMs]),
          (error: { code?: string; message: string }) =>
            seen.outcomes.push([error.code ?? error.message, Date.now() - startMs]),
        );
        return seen;
      });
      for (let waited = 0; waited <= 300; waited += 1) {
        vi.advanceTimersByTime(1);
        for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
      }
      for (const [index, { outcomes, signal }] of settled.entries()) {
        expect(outcomes).toHaveLength(1);
        const expected = expectedOf(ms, calls[index]!);
        if (expected !== undefined) expect(outcomes[0]).toEqual(expected);
        const [outcome] = outcomes[0]!;
        expect(signal?.aborted).toBe(outcome.startsWith('PL_'));
      }
      expect(guard.state().inFlight).toBe(0);
      vi.advanceTimersByTime(1_000);
      expect(vi.getTimerCount()).toBe(0);
    }),
    { numRuns: 60 },
  );
});
