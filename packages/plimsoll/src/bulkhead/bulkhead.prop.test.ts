import * as fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Cancellation } from '../kernel/cancellation.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { PermitsModel, type Outcome } from '../kernel/fixtures/permits-model.ts';
import { createBulkhead } from './bulkhead.ts';

/** The time that the faked timers keep. */
const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };
beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
});
afterEach(() => {
  vi.useRealTimers();
});

const weights = fc.integer({ min: 1, max: 4 });
const picks = fc.nat(30);
// Calls come at full hundreds of milliseconds and end in between, each at a time of its own.
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('run' as const), weight: weights }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('within' as const), weight: weights, hundreds: fc.nat(4) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('acquire' as const), weight: weights }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('try' as const), weight: weights }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('settle' as const), pick: picks, fails: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('again' as const), pick: picks }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), pick: picks }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), hundreds: fc.integer({ min: 1, max: 4 }) }),
  },
);

const outcomeOf = (error: unknown): Outcome | 'failed' => {
  if (!isPlimsollError(error)) return 'failed';
  if (error.code !== 'PL_BULKHEAD_FULL') return 'ended';
  return error.message.includes('waited') ? 'late' : 'full';
};

test('whatever comes, settles, is cancelled or late: as the naive model says, and each call once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        max: fc.integer({ min: 4, max: 6 }),
        maxWaiting: fc.nat(5),
        newestFirst: fc.boolean(),
        steps: fc.array(step, { maxLength: 60, size: 'max' }),
      }),
      async ({ max, maxWaiting, newestFirst, steps }) => {
        vi.setSystemTime(0);
        const maxWaitMs = 300;
        const order = newestFirst ? 'newest-first-when-full' : 'fifo';
        const bulkhead = createBulkhead({ name: 'bank', max, maxWaiting, maxWaitMs, order, clock });
        const model = new PermitsModel({ max, maxWaiting, maxWaitMs, newestFirst });
        const started: number[] = [];
        const outcomes = new Map<number, Outcome>();
        const cancellations = new Map<number, Cancellation>();
        /** How each that is under way is ended; stays, so that it can be ended again. */
        const ends = new Map<number, (fails: boolean) => void>();
        const ended: number[] = [];
        const byHand = new Set<number>();
        const settled = new Map<number, number>();
        const settle = (id: number): void => void settled.set(id, (settled.get(id) ?? 0) + 1);

        const begin = (id: number, end: (fails: boolean) => void): void => {
          expect(started, 'each call is made once').not.toContain(id);
          started.push(id);
          outcomes.set(id, 'started');
          ends.set(id, end);
        };
        const refused = (id: number, error: unknown): void => {
          settle(id);
          const outcome = outcomeOf(error);
          if (outcome !== 'failed') outcomes.set(id, outcome);
        };
        const run = (id: number, weight: number): void => {
          const call = bulkhead.run(() => {
            const { promise, resolve, reject } = Promise.withResolvers<void>();
            begin(id, (fails) => (fails ? reject(new Error('away')) : resolve()));
            return promise;
          }, weight);
          call.then(
            () => settle(id),
            (error: unknown) => refused(id, error),
          );
        };
        const hold = (id: number, release: () => void): void => {
          settle(id);
          byHand.add(id);
          begin(id, release);
        };

        /** In order; who acquires by hand is told a turn of the microtask queue later than a call that runs. */
        const expectStarted = (): void => {
          const calls = (ids: readonly number[]): number[] => ids.filter((call) => !byHand.has(call));
          expect(calls(started)).toEqual(calls(model.started));
          expect(new Set(started)).toEqual(new Set(model.started));
        };

        let id = 0;
        for (const given of steps) {
          if (given.kind === 'run' || given.kind === 'within' || given.kind === 'acquire') {
            id += 1;
            const cancellation = new Cancellation();
            cancellations.set(id, cancellation);
            // At least one millisecond: a context that has ended already is another test.
            const endsAtMs = given.kind === 'within' ? model.nowMs + given.hundreds * 100 + id : Infinity;
            const context = createContext({ cancellation, deadlineAtMs: endsAtMs });
            const { kind, weight } = given;
            const own = id;
            runInContext(context, () => {
              if (kind !== 'acquire') run(own, weight);
              else
                bulkhead.acquire(weight).then(
                  (release) => hold(own, release),
                  (error: unknown) => refused(own, error),
                );
            });
            model.arrive(id, weight, endsAtMs);
          } else if (given.kind === 'try') {
            const fits = model.waiting.length === 0 && model.activeWeight + given.weight <= max;
            const release = bulkhead.tryAcquire(given.weight);
            expect(release !== undefined, 'tryAcquire').toBe(fits);
            if (release !== undefined) {
              id += 1;
              hold(id, release);
              model.arrive(id, given.weight);
            }
          } else if (given.kind === 'settle') {
            const active = [...model.active.keys()];
            const target = active[given.pick % Math.max(1, active.length)];
            if (target === undefined) continue;
            ended.push(target);
            ends.get(target)?.(given.fails);
            await vi.advanceTimersByTimeAsync(0);
            model.settle(target);
          } else if (given.kind === 'again') {
            // Released, or settled, once more: nothing may happen.
            const target = ended[given.pick % Math.max(1, ended.length)];
            if (target !== undefined) ends.get(target)?.(false);
          } else if (given.kind === 'cancel') {
            const target = (given.pick % Math.max(1, id)) + (id === 0 ? 0 : 1);
            cancellations.get(target)?.cancel(new Error('gone'));
            model.cancel(target);
          } else {
            await vi.advanceTimersByTimeAsync(given.hundreds * 100);
            model.passTime(given.hundreds * 100);
          }
          await vi.advanceTimersByTimeAsync(0);
          expectStarted();
          expect(Object.fromEntries(outcomes)).toEqual(Object.fromEntries(model.outcomes));
          const { active, waiting } = bulkhead.state();
          expect({ active, waiting }).toEqual({ active: model.activeWeight, waiting: model.waiting.length });
          expect(active).toBeLessThanOrEqual(max);
          expect(waiting).toBeLessThanOrEqual(maxWaiting);
        }

        const drained = bulkhead.drain();
        while (model.active.size > 0 || model.waiting.length > 0) {
          // Ending one starts others.
          const underWay = Array.from(model.active.keys());
          for (const active of underWay) {
            ends.get(active)?.(false);
            model.settle(active);
          }
          await vi.advanceTimersByTimeAsync(0);
        }
        await drained;
        expect(bulkhead.state()).toMatchObject({ active: 0, waiting: 0, oldestMs: 0 });
        expectStarted();
        expect([...settled.values()].every((times) => times === 1)).toBe(true);
        expect(settled.size, 'nothing is lost').toBe(id);
        // What waits no longer leaves no timer but the one that is shared, which fires for nothing.
        await vi.advanceTimersByTimeAsync(10_000);
        expect(vi.getTimerCount()).toBe(0);
      },
    ),
    { numRuns: 500 },
  );
});
