import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { breakers, type BreakerState } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import { isPlimsollError, PlimsollError } from '../kernel/errors.ts';
import { createBreaker } from './breaker.ts';
import { breakerLimits, type BreakerLimits, type BreakerOptions } from './options.ts';
import type { Permit } from './permit.ts';

const failure = new Error('not well');
const uncounted = {
  cancelled: new DOMException('nobody waits', 'AbortError'),
  refused: new PlimsollError('PL_BULKHEAD_FULL', 'x'),
  caller: Object.assign(new Error('not found'), { status: 404 }),
};
type End = 'success' | 'failure' | 'drop' | keyof typeof uncounted;

interface ModelCall {
  /** Which of the states it began in, counted. */
  readonly epoch: number;
  readonly beganAt: number;
  end?: { readonly at: number; readonly counted: boolean; readonly failed: boolean; readonly slow: boolean };
}

/** The rules as they are told, over the full list of calls and of states there have been. */
class Model {
  readonly calls: ModelCall[] = [];
  readonly states: { state: BreakerState; at: number; byHand: boolean; untilMs?: number }[] = [
    { state: 'closed', at: -Infinity, byHand: true },
  ];
  /** The shares, in percent, of those that came in the ramp of this epoch. */
  rampArrivals: number[] = [];
  readonly #limits: BreakerLimits;
  readonly #random: number;

  constructor(limits: BreakerLimits, random: number) {
    this.#limits = limits;
    this.#random = random;
  }

  get epoch(): number {
    return this.states.length - 1;
  }

  get now() {
    return this.states[this.epoch]!;
  }

  get tripped(): boolean {
    return this.now.state === 'open' && this.now.byHand;
  }

  get ofEpoch(): ModelCall[] {
    return this.calls.filter(({ epoch }) => epoch === this.epoch);
  }

  become(state: BreakerState, at: number, byHand = false): void {
    const untilMs =
      at +
      Math.min(this.#limits.maxBreakMs, this.#limits.breakMs * 2 ** this.breaksBefore(at)) *
        (0.5 + this.#random / 2);
    this.states.push({ state, at, byHand, untilMs });
    this.rampArrivals = [];
  }

  /** How many times it has opened since it was last closed for a whole ramp, or by hand. */
  breaksBefore(at: number): number {
    let breaks = 0;
    let nextAt = at;
    for (const state of this.states.toReversed()) {
      if (state.state === 'open') breaks += 1;
      if (state.state === 'closed' && (state.byHand || nextAt - state.at >= this.#limits.rampMs)) break;
      nextAt = state.at;
    }
    return breaks;
  }

  /** In percent. */
  share(at: number): number {
    const { rampMs } = this.#limits;
    if (this.now.state !== 'closed') return 0;
    if (this.now.byHand || at - this.now.at >= rampMs) return 100;
    return [10, 25, 50][Math.floor(((at - this.now.at) * 3) / rampMs)]!;
  }

  /** The calls that count, of the last closed state: what opened it stays to be seen until it closes. */
  window(at: number): NonNullable<ModelCall['end']>[] {
    const { windowMs, windowCalls } = this.#limits;
    const closed = this.states.findLastIndex(({ state }) => state === 'closed');
    const counted = this.calls
      .filter(({ epoch, end }) => epoch === closed && end?.counted)
      .map(({ end }) => end!)
      .toSorted((one, other) => this.endings.indexOf(one) - this.endings.indexOf(other));
    if (windowCalls !== undefined) return counted.slice(-windowCalls);
    const tick = (ms: number): number => Math.floor(ms / (windowMs / 10));
    return counted.filter((end) => tick(at) - tick(end.at) < 10);
  }
  /** In the order in which they ended. */
  readonly endings: NonNullable<ModelCall['end']>[] = [];

  failuresInRow(): number {
    const { windowMs, windowCalls } = this.#limits;
    const tick = (ms: number): number => Math.floor(ms / (windowMs / 10));
    const counted = this.endings.filter(
      (end) => this.ofEpoch.some((call) => call.end === end) && end.counted,
    );
    let run = 0;
    for (const [index, end] of counted.entries()) {
      const before = counted[index - 1];
      const forgotten =
        windowCalls === undefined && before !== undefined && tick(end.at) - tick(before.at) >= 10;
      run = end.failed ? (forgotten ? 1 : run + 1) : 0;
    }
    return run;
  }

  /** Undefined when refused, else the call. */
  arrive(at: number): ModelCall | undefined {
    const { probes, probeMaxMs } = this.#limits;
    if (this.now.state === 'open') {
      if (this.tripped || at < this.now.untilMs!) return undefined;
      this.become('half-open', at);
    }
    if (this.now.state === 'half-open') {
      const given = this.ofEpoch.filter(({ end }) => end === undefined || end.counted);
      if (given.length >= probes) {
        if (at - Math.max(...this.ofEpoch.map(({ beganAt }) => beganAt)) >= probeMaxMs)
          this.become('open', at);
        return undefined;
      }
    } else if (this.share(at) < 100) {
      const before = this.rampArrivals.reduce((sum, share) => sum + share, 0);
      const share = this.share(at);
      this.rampArrivals.push(share);
      const byShare = Math.floor((before + share) / 100) > Math.floor(before / 100);
      if (!byShare && this.ofEpoch.some(({ end }) => end === undefined)) return undefined;
    }
    const call = { epoch: this.epoch, beganAt: at };
    this.calls.push(call);
    return call;
  }

  end(call: ModelCall, how: End, at: number): void {
    if (call.end !== undefined) return;
    const counted = (how === 'success' || how === 'failure') && call.epoch === this.epoch;
    call.end = { at, counted, failed: how === 'failure', slow: at - call.beganAt >= this.#limits.slowCallMs };
    this.endings.push(call.end);
    if (!counted) return;
    if (this.now.state === 'half-open') this.#decide(at);
    else if (this.#mustOpen(call.end, at)) this.become('open', at);
  }

  #decide(at: number): void {
    const { probes, probeSuccesses } = this.#limits;
    const ended = this.ofEpoch.flatMap(({ end }) => (end?.counted === true ? [end] : []));
    const good = ended.filter(({ failed, slow }) => !failed && !slow).length;
    if (good >= probeSuccesses) this.become('closed', at);
    else if (ended.length - good > probes - probeSuccesses) this.become('open', at);
  }

  #mustOpen(last: NonNullable<ModelCall['end']>, at: number): boolean {
    const { minimumCalls, failureRatio, slowRatio, slowCallMs, consecutiveFailures } = this.#limits;
    if (!last.failed && !last.slow) return false;
    if (this.failuresInRow() >= consecutiveFailures) return true;
    const window = this.window(at);
    if (window.length < minimumCalls) return false;
    const part = (is: (end: (typeof window)[number]) => boolean): number =>
      window.filter(is).length / window.length;
    return (
      part(({ failed }) => failed) >= failureRatio ||
      (slowCallMs !== Infinity && part(({ slow }) => slow) >= slowRatio)
    );
  }
}

const ratios = fc.constantFrom(0.2, 0.5, 0.6, 1);
const optionsOf: fc.Arbitrary<Omit<BreakerOptions, 'name'>> = fc
  .record({
    ofCalls: fc.boolean(),
    windowCalls: fc.integer({ min: 1, max: 8 }),
    minimumCalls: fc.integer({ min: 1, max: 5 }),
    failureRatio: ratios,
    slowCallMs: fc.constantFrom(Infinity, 15),
    slowRatio: ratios,
    consecutiveFailures: fc.constantFrom(Infinity, Infinity, 3),
    probes: fc.integer({ min: 1, max: 3 }),
    probeSuccesses: fc.integer({ min: 1, max: 3 }),
    rampMs: fc.constantFrom(0, 300, 300),
  })
  .map(({ ofCalls, windowCalls, ...rest }) => ({
    ...rest,
    ...(ofCalls ? { windowCalls } : { windowMs: 100 }),
    minimumCalls: ofCalls ? Math.min(rest.minimumCalls, windowCalls) : rest.minimumCalls,
    probeSuccesses: Math.min(rest.probes, rest.probeSuccesses),
    breakMs: 40,
    maxBreakMs: 130,
    probeMaxMs: 35,
  }));

const ends = fc.constantFrom<End>('success', 'failure', 'drop', 'cancelled', 'refused', 'caller');
const waits = fc.constantFrom(1, 5, 10, 20, 20, 30, 40, 60, 95, 130, 1_000);
// Of the newest calls, so that most are under way; also those of earlier states, and those that have ended.
const endOf = (furthest: number, how: fc.Arbitrary<End>) =>
  fc.record({ kind: fc.constant('end' as const), back: fc.nat(furthest), how });
const stepOf = fc.oneof(
  {
    weight: 40,
    arbitrary: fc.record({ kind: fc.constant('arrive' as const), count: fc.integer({ min: 1, max: 10 }) }),
  },
  { weight: 40, arbitrary: endOf(12, ends) },
  { weight: 40, arbitrary: endOf(2, fc.constantFrom<End>('success', 'failure')) },
  { weight: 40, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: waits }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'trip' as const }) },
  { weight: 3, arbitrary: fc.constant({ kind: 'reset' as const }) },
);

test('does what the rules say over the full list of calls, whatever ends when', () => {
  const seen = { 'half-open': 0, open: 0, closed: 0, late: 0, ramp: 0 };
  fc.assert(
    fc.property(
      optionsOf,
      fc.constantFrom(0, 0.5, 0.99),
      // Looking at the window brings it up to date.
      fc.boolean(),
      fc.array(stepOf, { minLength: 20, maxLength: 150, size: 'max' }),
      (options, random, looks, steps) => {
        let nowMs = 1_234;
        const scope = {};
        const clock = { ...systemClock, monotonicMs: () => nowMs };
        const breaker = createBreaker({ name: 'bank', ...options, clock, scope, random: () => random });
        const model = new Model(breakerLimits({ name: 'bank', ...options }), random);
        const told: BreakerState[] = [];
        const stop = breakers.subscribe((message) => {
          if (message.scope === scope) told.push(message.to);
        });
        const permits: { readonly permit: Permit; readonly call: ModelCall }[] = [];

        function arrive(): void {
          const call = model.arrive(nowMs);
          let permit: Permit | undefined;
          let refusal: unknown;
          try {
            permit = breaker.acquire();
          } catch (error) {
            refusal = error;
          }
          expect(permit !== undefined, `admitted in ${model.now.state}`).toBe(call !== undefined);
          if (call !== undefined && permit !== undefined) permits.push({ permit, call });
          if (call === undefined) {
            expect(isPlimsollError(refusal, 'PL_BREAKER_OPEN')).toBe(true);
            expect((refusal as PlimsollError).data['retryAfterMs']).toBeGreaterThan(0);
          }
        }

        function end(back: number, how: End): void {
          const chosen = permits.at(-1 - (back % Math.max(1, permits.length)));
          if (chosen === undefined) return;
          const { permit, call } = chosen;
          if (call.epoch !== model.epoch && call.end === undefined) seen.late += 1;
          model.end(call, how, nowMs);
          if (how === 'success') permit.succeed();
          else if (how === 'drop') permit.drop();
          else permit.fail(how === 'failure' ? failure : uncounted[how]);
        }

        function look(): void {
          const window = model.window(nowMs);
          const { state, tripped, calls, failures, slow, admitted, opened, retryAfterMs } = breaker.state();
          seen[state] += 1;
          if (state === 'closed' && admitted < 1) seen.ramp += 1;
          expect({ state, tripped, calls, failures, slow, admitted, opened }).toEqual({
            state: model.now.state,
            tripped: model.tripped,
            calls: window.length,
            failures: window.filter(({ failed }) => failed).length,
            slow: window.filter((call) => call.slow).length,
            admitted: model.share(nowMs) / 100,
            opened: model.states.filter((known) => known.state === 'open').length,
          });
          if (state === 'open' && !tripped)
            expect(retryAfterMs).toBe(Math.max(0, Math.ceil(model.now.untilMs! - nowMs)));
        }

        for (const step of steps) {
          if (step.kind === 'arrive') for (let left = step.count; left > 0; left -= 1) arrive();
          else if (step.kind === 'end') end(step.back, step.how);
          else if (step.kind === 'wait') nowMs += step.ms;
          else if (step.kind === 'trip') {
            breaker.trip('by the test');
            if (!model.tripped) model.become('open', nowMs, true);
          } else {
            breaker.reset();
            model.become('closed', nowMs, true);
          }
          if (looks) look();
        }
        look();
        stop();
        const changes = model.states
          .slice(1)
          .filter(
            ({ state, byHand }, index) =>
              !(state === 'closed' && byHand && model.states[index]!.state === 'closed'),
          )
          .map(({ state }) => state);
        expect(told).toEqual(changes);
      },
    ),
    { numRuns: 1_000 },
  );
  // The property says nothing if the states are not reached.
  for (const [what, times] of Object.entries(seen)) expect(times, what).toBeGreaterThan(300);
});
