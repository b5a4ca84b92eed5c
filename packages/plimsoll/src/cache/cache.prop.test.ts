import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Cache } from './cache.ts';
import { createCache } from './create-cache.ts';
import { HandClock, settled } from './fixtures/hand-clock.ts';
import { slowStore } from './fixtures/slow-store.ts';
import { memoryBus } from './memory-bus.ts';
import { memorySharedStore } from './memory-shared-store.ts';
import { cachePolicy } from './policy.ts';

const keys = ['a', 'b'] as const;
type Key = (typeof keys)[number];
const aKey = fc.constantFrom(...keys);
const aCache = fc.integer({ min: 0, max: 1 });

const aStep = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('get' as const), cache: aCache, key: aKey, quick: fc.boolean() }),
  },
  // A load under way goes one step on: it reads the truth, then it answers.
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('go' as const),
      load: fc.nat({ max: 2 }),
      fails: fc.nat({ max: 4 }).map((n) => n === 0),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      cache: aCache,
      key: aKey,
      by: fc.constantFrom('tag', 'key', 'all'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('through' as const), cache: aCache, key: aKey }) },
  // The row is there, and nobody has been told yet.
  { weight: 1, arbitrary: fc.record({ do: fc.constant('commit' as const), key: aKey }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ms: fc.constantFrom(1, 3, 3, 6, 6, 12, 12, 25, 450, 3_000),
    }),
  },
);

interface Underway {
  readonly key: Key;
  readonly answer: (value: number) => void;
  readonly fail: () => void;
  read: number | undefined;
}

const policyFor = (key: Key) =>
  cachePolicy({
    ttlMs: 500,
    tags: [`tag:${key}`, 'all'],
    staleWhileRevalidateMs: 100,
    staleIfErrorMs: 300,
    softTimeoutMs: 30,
    hardTimeoutMs: 200,
    abandonMs: 1_000,
    failureMs: 50,
  });
const policies = new Map(keys.map((key) => [key, policyFor(key)]));

/** Caches of one process each, or one alone; whatever is loaded, fails, ends or is invalidated in whatever order. */
async function run(
  steps: readonly (typeof aStep extends fc.Arbitrary<infer S> ? S : never)[],
  shape: Shape,
): Promise<void> {
  const clock = new HandClock();
  const bus = memoryBus();
  let seed = 1;
  const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_648;
  const slow = slowStore(memorySharedStore(), clock, () => Math.floor(random() * 12));
  const store = shape.shared ? slow : undefined;
  const caches: Cache[] = [0, 1].map(() =>
    createCache({
      name: 'model',
      clock,
      bus,
      ...(shape.process ? { process: { maxEntries: shape.room } } : { process: false }),
      ...(store === undefined ? {} : { shared: store }),
      random,
    }),
  );
  await Promise.all(caches.map((cache) => cache.start()));
  const truth = new Map<Key, number>(keys.map((key) => [key, 0]));
  // What no get that begins now may be older than.
  const floor = new Map<Key, number>(truth);
  const underway: Underway[] = [];
  const gets: Promise<void>[] = [];
  const wrong: string[] = [];

  const load = (key: Key, quick: boolean) => async (): Promise<number> => {
    if (quick) return truth.get(key)!;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    underway.push({ key, answer: resolve, fail: () => reject(new Error('down')), read: undefined });
    return await promise;
  };
  const bump = (key: Key): number => {
    const next = truth.get(key)! + 1;
    truth.set(key, next);
    return next;
  };

  for (const step of steps) {
    if (step.do === 'get') {
      const atLeast = floor.get(step.key)!;
      const got = caches[step.cache]!.get(step.key, policies.get(step.key)!, load(step.key, step.quick)).then(
        (value) => {
          if (value < atLeast) wrong.push(`${step.key}: ${value}, and ${atLeast} was invalidated before`);
        },
        () => undefined,
      );
      gets.push(got);
    } else if (step.do === 'go') {
      const one = underway[step.load];
      if (one !== undefined && one.read === undefined && !step.fails) one.read = truth.get(one.key)!;
      else if (one !== undefined) {
        underway.splice(step.load, 1);
        if (one.read === undefined) one.fail();
        else one.answer(one.read);
      }
    } else if (step.do === 'write') {
      const changed = step.by === 'all' ? keys : [step.key];
      const marks = changed.map((key) => [key, bump(key)] as const);
      const what =
        step.by === 'all'
          ? { tags: ['all'] }
          : step.by === 'tag'
            ? { tags: [`tag:${step.key}`] }
            : { keys: [step.key] };
      gets.push(
        caches[step.cache]!.invalidate(what).then(() => {
          for (const [key, mark] of marks) floor.set(key, Math.max(floor.get(key)!, mark));
        }),
      );
    } else if (step.do === 'through') {
      let mark = 0;
      gets.push(
        caches[step.cache]!.write(step.key, policies.get(step.key)!, async () => {
          mark = bump(step.key);
          await clock.sleep(5);
          return mark;
        }).then(() => void floor.set(step.key, Math.max(floor.get(step.key)!, mark))),
      );
    } else if (step.do === 'commit') bump(step.key);
    else await clock.advance(step.ms);
    await settled();
  }
  // All that is under way ends, one way or the other.
  let ended = false;
  void Promise.all(gets).then(() => (ended = true));
  for (let n = 0; n < 500 && !(ended && caches.every((cache) => cache.state().flights === 0)); n += 1) {
    for (const one of underway.splice(0)) one.answer(one.read ?? truth.get(one.key)!);
    await clock.advance(20);
  }
  expect(ended).toBe(true);
  expect(wrong).toEqual([]);
  for (const cache of caches) {
    expect(cache.state().flights).toBe(0);
    expect(cache.state().entries).toBeLessThanOrEqual(shape.room);
    await cache.stop();
  }
}

interface Shape {
  readonly process: boolean;
  readonly shared: boolean;
  readonly room: number;
}
const shapes: readonly Shape[] = [
  { process: true, shared: false, room: 1 },
  { process: true, shared: true, room: 9 },
  { process: false, shared: true, room: 0 },
];

test.for(shapes)(
  'no get is answered with less than what was invalidated before it began: %j',
  async (shape) => {
    await fc.assert(
      fc.asyncProperty(fc.array(aStep, { minLength: 20, maxLength: 80, size: 'max' }), (steps) =>
        run(steps, shape),
      ),
      { numRuns: 300 },
    );
  },
);
