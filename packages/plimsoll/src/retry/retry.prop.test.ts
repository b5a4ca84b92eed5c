import * as fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { createRetryBudget } from './budget.ts';
import { createRetry } from './retry.ts';

/** The time that the faked timers keep; it passes when everybody waits. */
const clock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => Date.now(),
  sleep: (ms) =>
    new Promise((resolve) => {
      setTimeout(resolve, ms);
    }),
};
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Lets time pass until all of it has settled. */
async function settled(running: Promise<unknown>): Promise<void> {
  let over = false;
  const ended = running.finally(() => {
    over = true;
  });
  while (!over) await vi.advanceTimersToNextTimerAsync();
  await ended;
}

const busy = (): PlimsollError => new PlimsollError('PL_POOL_TIMEOUT', 'no connection');
const mistake = (): Error => Object.assign(new Error('no such sku'), { status: 404 });

test('a dependency that fails for half of the calls gets at most 1.1 times the arrivals', async () => {
  const shape = fc.record({
    arrivals: fc.integer({ min: 300, max: 800 }),
    everyMs: fc.integer({ min: 1, max: 15 }),
    workMs: fc.integer({ min: 0, max: 100 }),
    attempts: fc.integer({ min: 2, max: 8 }),
    hedged: fc.boolean(),
    // Which calls fail: half of them, in any order.
    seed: fc.infiniteStream(fc.boolean()),
  });
  await fc.assert(
    fc.asyncProperty(shape, async ({ arrivals, everyMs, workMs, attempts, hedged, seed }) => {
      const budget = createRetryBudget({ clock });
      const hedge = hedged ? { hedge: { delayMs: 20 } } : {};
      const retry = createRetry({ name: 'stock', safe: true, attempts, clock, budget, ...hedge });
      let calls = 0;
      const call = async (): Promise<void> => {
        await retry
          .run(async () => {
            calls += 1;
            if (workMs > 0) await clock.sleep(workMs);
            if (seed.next().value === true) throw busy();
          })
          .catch((error: unknown) => expect(error).toMatchObject({ code: 'PL_POOL_TIMEOUT' }));
      };
      const arrive = async (): Promise<void> => {
        const running: Promise<void>[] = [];
        for (let arrival = 0; arrival < arrivals; arrival += 1) {
          running.push(call());
          await clock.sleep(everyMs);
        }
        await Promise.all(running);
      };
      await settled(arrive());
      expect(calls).toBe(arrivals + budget.state().spent);
      // Above 30 arrivals a second the minimum of 3 adds nothing but what it holds at the start.
      expect(calls).toBeLessThanOrEqual(arrivals * 1.1 + 3);
      expect(calls).toBeGreaterThan(arrivals * 1.05);
      if (hedged && workMs > 25) expect(retry.state().hedges).toBeGreaterThan(0);
    }),
    { numRuns: 15 },
  );
});

test('random failures, durations, deadlines: attempts, waits and ends are those of the model', async () => {
  const step = fc.record({
    tookMs: fc.integer({ min: 0, max: 200 }),
    outcome: fc.constantFrom('busy', 'busy', 'busy', 'asked', 'mistake', 'done'),
    askedMs: fc.integer({ min: 0, max: 400 }),
    chance: fc.constantFrom(0, 0.25, 0.5, 0.75),
  });
  const call = fc.record({
    steps: fc.array(step, { minLength: 6, maxLength: 6 }),
    leftMs: fc.option(fc.integer({ min: 1, max: 1_500 }), { nil: undefined }),
    safe: fc.boolean(),
  });
  const limits = fc.record({
    attempts: fc.integer({ min: 1, max: 6 }),
    baseMs: fc.integer({ min: 0, max: 25 }).map((n) => n * 4),
    spareMs: fc.integer({ min: 0, max: 100 }).map((n) => n * 4),
    minPerSecond: fc.integer({ min: 0, max: 3 }),
  });
  await fc.assert(
    fc.asyncProperty(limits, fc.array(call, { minLength: 1, maxLength: 4 }), async (given, calls) => {
      const { attempts, baseMs, minPerSecond } = given;
      const maxMs = baseMs + given.spareMs;
      const budget = createRetryBudget({ clock, minPerSecond, ratio: 0.25 });
      // The model has a budget of its own; that one is checked by its own test.
      const modelBudget = createRetryBudget({ clock, minPerSecond, ratio: 0.25 });
      let chance = 0;
      const retry = createRetry({
        name: 'stock',
        clock,
        budget,
        attempts,
        baseMs,
        maxMs,
        random: () => chance,
      });
      // One after the other, so that the model can take from its budget at the same times.
      const test = async (): Promise<void> => {
        for (const { steps, leftMs, safe } of calls) {
          const startMs = clock.monotonicMs();
          const deadlineAtMs = leftMs === undefined ? Infinity : startMs + leftMs;
          const starts: number[] = [];
          const expected: number[] = [startMs];
          let over = false;
          modelBudget.deposit();
          const running = runInContext(createContext({ deadlineAtMs }), () =>
            retry.run(
              async ({ number }) => {
                starts.push(clock.monotonicMs());
                expect(number).toBe(starts.length);
                const { tookMs, outcome, askedMs, chance: next } = steps[number - 1]!;
                if (tookMs > 0) await clock.sleep(tookMs);
                chance = next;
                if (outcome === 'done') return 'done';
                // What the model says of the next one.
                const nowMs = clock.monotonicMs();
                const waitMs =
                  (outcome === 'asked' ? askedMs : 0) + next * Math.min(maxMs, baseMs * 2 ** (number - 1));
                const p50Ms = retry.state().p50Ms;
                const again =
                  safe && outcome !== 'mistake' && number < attempts && deadlineAtMs - nowMs > waitMs + p50Ms;
                if (again && modelBudget.withdraw()) expected.push(nowMs + waitMs);
                else over = true;
                if (outcome === 'mistake') throw mistake();
                throw outcome === 'asked'
                  ? new PlimsollError('PL_POOL_TIMEOUT', 'busy', { data: { retryAfterMs: askedMs } })
                  : busy();
              },
              { safe },
            ),
          );
          const ended = await running.catch((error: unknown) => error);
          expect(starts).toEqual(expected);
          for (const at of starts.slice(1)) expect(at).toBeLessThan(deadlineAtMs);
          expect(ended === 'done').toBe(!over);
          expect(budget.state().spent).toBe(modelBudget.state().spent);
        }
      };
      await settled(test());
    }),
    { numRuns: 300 },
  );
});
