import * as fc from 'fast-check';
import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Cancellation } from '../kernel/cancellation.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { PermitsModel, type Outcome } from '../kernel/fixtures/permits-model.ts';
import { createQueue } from './create-queue.ts';

/** The time that the faked timers keep. */
const clock: Clock = { ...systemClock, monotonicMs: () => Date.now() };
beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
});
afterEach(() => {
  vi.useRealTimers();
});

const picks = fc.nat(30);
const weights = fc.integer({ min: 1, max: 3 });
// Items come at full hundreds of milliseconds and their contexts end in between, each at a time of its own.
const add = fc.record({
  kind: fc.constantFrom('offer' as const, 'push' as const),
  weight: weights,
  hundreds: fc.option(fc.nat(4), { freq: 2, nil: undefined }),
});
const step = fc.oneof(
  { weight: 9, arbitrary: add },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('settle' as const), pick: picks, fails: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), pick: picks }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), hundreds: fc.integer({ min: 1, max: 4 }) }),
  },
);

const outcomeOf = (error: unknown): Outcome | 'closed' | 'failed' => {
  if (!isPlimsollError(error)) return 'failed';
  if (error.code === 'PL_DRAINING') return 'closed';
  if (error.code !== 'PL_QUEUE_FULL') return 'ended';
  return error.message.includes('waited') ? 'late' : 'full';
};

interface Item {
  readonly id: number;
  readonly weight: number;
}

test('whatever is offered, pushed, settled, cancelled or late: as the naive model says, each item once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        concurrency: fc.integer({ min: 3, max: 5 }),
        maxLength: fc.integer({ min: 1, max: 5 }),
        newestFirst: fc.boolean(),
        steps: fc.array(step, { maxLength: 60 }),
        after: fc.array(add, { minLength: 1, maxLength: 3 }),
      }),
      async ({ concurrency, maxLength, newestFirst, steps, after }) => {
        vi.setSystemTime(0);
        const maxWaitMs = 300;
        const model = new PermitsModel({ max: concurrency, maxWaiting: maxLength, maxWaitMs, newestFirst });
        const producer = new AsyncLocalStorage<number>();
        const started: number[] = [];
        const ends = new Map<number, (fails: boolean) => void>();
        /** How each item ended for its producer, or what the hook was told. */
        const told = new Map<number, string[]>();
        const failed = new Set<number>();
        const tell = (id: number, what: string): void => void told.set(id, [...(told.get(id) ?? []), what]);
        const queue = createQueue<Item, number>({
          name: 'mails',
          concurrency,
          maxLength,
          maxWaitMs,
          order: newestFirst ? 'newest-first-when-full' : 'fifo',
          clock,
          weight: ({ weight }) => weight,
          onFailure(error, { id }) {
            expect(producer.getStore(), 'the hook runs in the context of the producer').toBe(id);
            tell(id, outcomeOf(error));
          },
          handler({ id }) {
            expect(producer.getStore(), 'the handler runs in the context of the producer').toBe(id);
            expect(started, 'each item is handled once').not.toContain(id);
            started.push(id);
            const { promise, resolve, reject } = Promise.withResolvers<number>();
            ends.set(id, (fails) => (fails ? reject(new Error('away')) : resolve(id)));
            return promise;
          },
        });

        const pushed = new Set<number>();
        const cancellations = new Map<number, Cancellation>();
        let id = 0;
        const put = ({
          kind,
          weight,
          hundreds,
        }: typeof add extends fc.Arbitrary<infer T> ? T : never): void => {
          id += 1;
          const item = { id, weight };
          const cancellation = new Cancellation();
          cancellations.set(id, cancellation);
          const endsAtMs = hundreds === undefined ? Infinity : model.nowMs + hundreds * 100 + id;
          if (!queue.state().closed) model.arrive(id, weight, endsAtMs);
          runInContext(createContext({ cancellation, deadlineAtMs: endsAtMs }), () =>
            producer.run(item.id, () => {
              if (kind === 'offer') {
                const wanted = model.outcomes.get(item.id);
                const isTaken = !queue.state().closed && wanted !== 'full';
                expect(queue.offer(item)).toBe(isTaken);
                return;
              }
              pushed.add(item.id);
              queue.push(item).then(
                (result) => tell(item.id, `result ${result}`),
                (error: unknown) => tell(item.id, outcomeOf(error)),
              );
            }),
          );
        };
        const settle = async (target: number, fails: boolean): Promise<void> => {
          if (fails) failed.add(target);
          ends.get(target)?.(fails);
          await vi.advanceTimersByTimeAsync(0);
          model.settle(target);
        };

        for (const given of steps) {
          if (given.kind === 'settle') {
            const active = [...model.active.keys()];
            const target = active[given.pick % Math.max(1, active.length)];
            if (target !== undefined) await settle(target, given.fails);
          } else if (given.kind === 'cancel') {
            const target = given.pick % (id + 1);
            cancellations.get(target)?.cancel(new Error('gone'));
            model.cancel(target);
          } else if (given.kind === 'pass') {
            await vi.advanceTimersByTimeAsync(given.hundreds * 100);
            model.passTime(given.hundreds * 100);
          } else put(given);
          await vi.advanceTimersByTimeAsync(0);
          // An offered item starts at once, a pushed one a turn of the microtask queue later.
          for (const kind of [true, false]) {
            const ofKind = (item: number): boolean => pushed.has(item) === kind;
            expect(started.filter(ofKind)).toEqual(model.started.filter(ofKind));
          }
          const { active, length } = queue.state();
          expect({ active, length }).toEqual({ active: model.activeWeight, length: model.waiting.length });
          expect(active).toBeLessThanOrEqual(concurrency);
          expect(length).toBeLessThanOrEqual(maxLength);
        }

        const taken = id;
        const closed = queue.close();
        for (const late of after) put(late);
        while (model.active.size > 0 || model.waiting.length > 0) {
          const underWay = Array.from(model.active.keys());
          for (const active of underWay) await settle(active, false);
          await vi.advanceTimersByTimeAsync(0);
        }
        await closed;
        expect(queue.state()).toMatchObject({ active: 0, length: 0, oldestMs: 0 });
        for (let item = 1; item <= id; item += 1) {
          const outcome = item > taken ? 'closed' : model.outcomes.get(item);
          const isPushed = pushed.has(item);
          let wanted: string[] = [];
          if (outcome === 'started')
            wanted = failed.has(item) ? ['failed'] : isPushed ? [`result ${item}`] : [];
          // Who offers was answered at once.
          else if (isPushed || outcome === 'late' || outcome === 'ended') wanted = [String(outcome)];
          expect(told.get(item) ?? [], `${isPushed ? 'pushed' : 'offered'} item ${item}`).toEqual(wanted);
        }
        const count = (...outcomes: Outcome[]): number =>
          [...model.outcomes.values()].filter((outcome) => outcomes.includes(outcome)).length;
        expect(queue.state().dropped).toBe(count('late', 'ended'));
        expect(queue.state().refused).toBe(count('full') + after.length);
        await vi.advanceTimersByTimeAsync(10_000);
        expect(vi.getTimerCount()).toBe(0);
      },
    ),
    { numRuns: 400 },
  );
});

test('consumers that come and go take each item once and in order, and all end when it is closed', async () => {
  const move = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('offer' as const, 'push' as const, 'consume' as const) },
    { weight: 6, arbitrary: fc.record({ pick: picks, leaves: fc.boolean() }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(move, { maxLength: 60 }), async (moves) => {
      const maxLength = 4;
      const queue = createQueue<number>({ name: 'rows', maxLength, clock });
      /** Of each consumer that has an item: whether it goes on. */
      const having: ((leaves: boolean) => void)[] = [];
      const got: number[] = [];
      const pushed: number[] = [];
      const resolved: number[] = [];
      let consuming = 0;
      let taken = 0;

      async function consume(): Promise<void> {
        consuming += 1;
        for await (const item of queue) {
          got.push(item);
          const leaves = await new Promise<boolean>((resolve) => having.push(resolve));
          if (leaves) break;
        }
        consuming -= 1;
      }

      for (const given of moves) {
        const free = consuming - having.length;
        if (given === 'consume') void consume();
        else if (given === 'offer' || given === 'push') {
          const fits = free > 0 || queue.state().length < maxLength;
          if (given === 'offer') expect(queue.offer(taken)).toBe(fits);
          else {
            const item = taken;
            if (fits) pushed.push(item);
            queue.push(item).then(
              () => resolved.push(item),
              (error: unknown) => expect(fits ? 'taken' : outcomeOf(error)).toBe('full'),
            );
          }
          if (fits) taken += 1;
        } else having.splice(given.pick % Math.max(1, having.length), 1)[0]?.(given.leaves);
        await vi.advanceTimersByTimeAsync(0);
        expect(queue.state()).toMatchObject({ active: having.length, length: taken - got.length });
        expect(resolved).toEqual(pushed.filter((item) => got.includes(item)));
      }

      const closed = queue.close();
      expect(queue.offer(-1)).toBe(false);
      // Somebody has to take what is left.
      void consume();
      for (await vi.advanceTimersByTimeAsync(0); having.length > 0; await vi.advanceTimersByTimeAsync(0))
        having.pop()?.(false);
      await closed;
      expect(consuming).toBe(0);
      expect(got).toEqual(Array.from({ length: taken }, (_, item) => item));
    }),
    { numRuns: 300 },
  );
});

test('producers that wait for space lose no item and are never forgotten, whoever comes in between', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        maxLength: fc.integer({ min: 1, max: 3 }),
        producers: fc.array(fc.record({ items: fc.nat(6), givesUp: fc.boolean() }), {
          minLength: 1,
          maxLength: 5,
        }),
        barging: fc.array(fc.boolean(), { minLength: 1, maxLength: 10 }),
      }),
      async ({ maxLength, producers, barging }) => {
        const handled: number[] = [];
        const queue = createQueue<number, void>({
          name: 'rows',
          concurrency: 1,
          maxLength,
          clock,
          async handler(item) {
            await new Promise((resolve) => setTimeout(resolve, 1));
            handled.push(item);
          },
        });
        let offered = 0;
        const produce = async ({ items, givesUp }: { items: number; givesUp: boolean }): Promise<void> => {
          for (let item = 0; item < items; item += 1) {
            while (!queue.offer(offered)) {
              await queue.space();
              // Was told of space and makes no use of it: another one must be told.
              if (givesUp) return;
            }
            offered += 1;
          }
        };
        const all = Promise.all(producers.map(produce));
        for (const barges of barging) {
          if (barges && queue.offer(offered)) offered += 1;
          await vi.advanceTimersByTimeAsync(1);
          expect(queue.state().length).toBeLessThanOrEqual(maxLength);
        }
        await vi.advanceTimersByTimeAsync(100);
        await all;
        await queue.close();
        expect(handled).toEqual(Array.from({ length: offered }, (_, item) => item));
      },
    ),
    { numRuns: 300 },
  );
});
