import * as fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { breakers, refusals, retries } from '../kernel/channels.ts';
import type { Clock } from '../kernel/clock.ts';
import { composed, type ComposedOptions } from './fixtures/composed.ts';
import { World, type CallGiven, type End } from './fixtures/world.ts';
import { createPolicy } from './policy.ts';

/** The time that the faked timers keep. */
const clock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const timer = setTimeout(resolve, ms);
      signal?.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve();
      });
    }),
};
/** What the guards of each scope told the channels. */
let heard = new Map<object, string[]>();
let stops: (() => void)[] = [];
function hear(scope: object, message: string): void {
  heard.set(scope, [...(heard.get(scope) ?? []), message]);
}
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  stops = [
    retries.subscribe(({ scope, attempt, delayMs }) => hear(scope, `retry ${attempt} in ${delayMs}`)),
    refusals.subscribe(({ scope, policy, reason }) => hear(scope, `${policy}: ${reason}`)),
    breakers.subscribe(({ scope, from, to, reason }) => hear(scope, `${from} ${to}: ${reason}`)),
  ];
});
afterEach(() => {
  for (const stop of stops) stop();
  vi.useRealTimers();
});

/** By the time alone, so that two guards may draw in either order. */
const random = (): number => (Math.imul(Date.now() + 1, 2_654_435_761) >>> 0) / 2 ** 32;

const left = fc.option(fc.constantFrom(0, 2_900, 8_300, 24_100), { nil: undefined });
const call = fc.record<CallGiven>({
  safe: fc.constantFrom(true, true, false, undefined),
  weight: fc.constantFrom(undefined, undefined, undefined, 1, 2, 9),
  context: fc.option(fc.record({ leftMs: left, gone: fc.constantFrom(false, false, false, false, true) }), {
    nil: undefined,
  }),
  within: fc.option(fc.record({ repeats: fc.constantFrom(true, false, undefined), leftMs: left }), {
    nil: undefined,
    freq: 4,
  }),
  does: fc.constantFrom('waits', 'waits', 'waits', 'heeds', 'returns', 'throws', 'cancels', 'calls'),
});
const ends: readonly End[] = ['value', 'value', 'busy', 'busy', 'asked', 'caller', 'bug', 'cancelled'];
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('call' as const), call }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      pick: fc.nat(50),
      end: fc.constantFrom(...ends),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), pick: fc.nat(50) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), pick: fc.nat(50) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.constantFrom(1, 700, 5_300, 10_100, 33_100, 100_900),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('hand' as const),
      does: fc.constantFrom('trip' as const, 'reset' as const),
    }),
  },
);
const shape = fc.record({
  breaker: fc.constantFrom(
    {},
    { windowMs: 60_000, minimumCalls: 3, breakMs: 9_000 },
    { consecutiveFailures: 2, breakMs: 5_000, rampMs: 0 },
    { windowMs: 60_000, slowCallMs: 600, minimumCalls: 3, breakMs: 20_000, rampMs: 30_000 },
    { windowCalls: 4, probes: 2, breakMs: 15_000 },
  ),
  max: fc.integer({ min: 1, max: 3 }),
  maxWaiting: fc.nat(3),
  attempts: fc.integer({ min: 1, max: 4 }),
  safe: fc.boolean(),
  steps: fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }),
});

test.for([true, false])(
  'a policy is its four guards around each other, after every step (ambient: %j)',
  async (ambient) => {
    await fc.assert(
      fc.asyncProperty(shape, async ({ breaker, max, maxWaiting, attempts, safe, steps }) => {
        vi.setSystemTime(1_000_000);
        heard = new Map();
        const options: Omit<ComposedOptions, 'scope'> = {
          name: 'bank',
          retry: { ambient, attempts, safe, baseMs: 2_000, maxMs: 6_000, maxRetryAfterMs: 10_000 },
          breaker,
          bulkhead: { max, maxWaiting, maxWaitMs: 6_700 },
          timeout: { ms: 10_300 },
          clock,
          random,
        };
        const scopes = [{}, {}] as const;
        const worlds = [
          new World(createPolicy({ ...options, scope: scopes[0] }), ambient),
          new World(composed({ ...options, scope: scopes[1] }), ambient),
        ] as const;
        const expectSame = (): void => {
          expect(worlds[0].seen()).toEqual(worlds[1].seen());
          // In one moment in any order.
          const [ours, theirs] = scopes.map((scope) => heard.get(scope)?.toSorted());
          expect(ours).toEqual(theirs);
        };
        let calls = 0;
        for (const given of steps) {
          // What happens in one moment has no order that anybody may count on; so little as can be does.
          await vi.advanceTimersByTimeAsync(1);
          if (given.kind === 'call') {
            calls += 1;
            for (const world of worlds) world.call(calls, given.call);
          } else if (given.kind === 'end') {
            const pending = [...worlds[1].pending.keys()].toSorted();
            const name = pending[given.pick % Math.max(1, pending.length)];
            if (name === undefined) continue;
            for (const world of worlds) world.end(name, given.end);
          } else if (given.kind === 'cancel') {
            for (const world of worlds)
              world.cancellations.get((given.pick % (calls + 1)) + 1)?.cancel('gone');
          } else if (given.kind === 'leave') {
            for (const world of worlds) world.outer.get((given.pick % (calls + 1)) + 1)?.abort('gone');
          } else if (given.kind === 'pass') await vi.advanceTimersByTimeAsync(given.ms);
          else
            for (const { guarded } of worlds)
              if (given.does === 'reset') guarded.breaker?.reset();
              else guarded.breaker?.trip('by hand');
          await vi.advanceTimersByTimeAsync(0);
          expectSame();
        }
        // Whatever still waits is given up, and everything comes back.
        await vi.advanceTimersByTimeAsync(500_000);
        expectSame();
        expect(worlds[0].guarded.state()).toMatchObject({
          bulkhead: { active: 0, waiting: 0 },
          timeout: { inFlight: 0 },
        });
      }),
      { numRuns: 400 },
    );
  },
);
