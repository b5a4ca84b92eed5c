import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lowestRate, nextAction } from './search.ts';
import type { Attempt, SearchConfig } from './search.ts';

const configs: fc.Arbitrary<SearchConfig> = fc
  .record({
    expectedPeakRps: fc.double({ min: 1, max: 2_000, noNaN: true }),
    capFactor: fc.double({ min: 1, max: 100, noNaN: true }),
    budgetMs: fc.integer({ min: 5_000, max: 300_000 }),
    leadInMs: fc.integer({ min: 0, max: 2_000 }),
    drainReserveMs: fc.integer({ min: 2_000, max: 5_000 }),
  })
  .map(({ expectedPeakRps, capFactor, budgetMs, leadInMs, drainReserveMs }) => {
    const stepMs = Math.min(6_000, budgetMs / 15);
    const longestStepMs = Math.max(stepMs, Math.min(30_000, budgetMs / 4));
    const maxRps = Math.max(expectedPeakRps * capFactor, 220_000 / longestStepMs);
    return {
      expectedPeakRps,
      maxRps,
      budgetMs,
      stepMs,
      longestStepMs,
      leadInMs,
      drainReserveMs,
      minSamples: 220,
    };
  });

const results = fc.constantFrom<Attempt['result']>('pass', 'fail', 'generator');

/** Any system at all: its answers need not even agree with each other. */
const systems = fc.oneof(
  fc.infiniteStream(results).map((stream) => (): Attempt['result'] => stream.next().value ?? 'fail'),
  fc.double({ min: 0, max: 5_000, noNaN: true }).map(
    (capacity) =>
      (rate: number): Attempt['result'] =>
        rate <= capacity ? 'pass' : 'fail',
  ),
);

describe('search, whatever the system does', () => {
  it('ends within the budget, keeps to the cap, and reports only what was measured', () => {
    fc.assert(
      fc.property(
        configs,
        systems,
        fc.infiniteStream(fc.integer({ min: 0, max: 5_000 })),
        (config, system, drains) => {
          const history: Attempt[] = [];
          let elapsedMs = 0;
          let drainMs = 0;
          let action = nextAction(config, history, elapsedMs);
          while (action.kind === 'step') {
            expect(history.length).toBeLessThan(200);
            expect(action.rateRps).toBeLessThanOrEqual(config.maxRps);
            expect(action.measuredMs * action.rateRps).toBeGreaterThanOrEqual(
              Math.min(220_000, config.longestStepMs * lowestRate(config)) * 0.999,
            );
            drainMs = drains.next().value ?? 0;
            elapsedMs += config.leadInMs + action.measuredMs + drainMs;
            history.push({
              rateRps: action.rateRps,
              purpose: action.purpose,
              result: system(action.rateRps),
            });
            action = nextAction(config, history, elapsedMs);
          }
          // Only the first step may not fit, and only when the caller's lead-in eats the budget.
          if (history.length > 1) expect(elapsedMs - drainMs).toBeLessThanOrEqual(config.budgetMs + 1e-6);

          const { heldRps, confirmed, upperRps } = action;
          const at = (rate: number, result: Attempt['result']): number =>
            history.filter((attempt) => attempt.rateRps === rate && attempt.result === result).length;
          const twiceFailed = history
            .map(({ rateRps }) => rateRps)
            .filter((rate) => at(rate, 'fail') >= 2 && at(rate, 'pass') === 0);
          if (heldRps > 0) {
            expect(at(heldRps, 'pass')).toBeGreaterThan(0);
            for (const rate of twiceFailed) expect(heldRps).toBeLessThan(rate);
          }
          if (confirmed)
            expect(history.at(-1)).toEqual({ rateRps: heldRps, purpose: 'confirm', result: 'pass' });
          if (upperRps !== undefined) expect(upperRps).toBeGreaterThan(heldRps);
          const { outcome } = action;
          if (outcome === 'found' || outcome === 'at-least')
            expect(heldRps).toBeGreaterThanOrEqual(config.expectedPeakRps);
          if (outcome === 'below-peak') expect(heldRps).toBeLessThan(config.expectedPeakRps);
          if (action.outcome === 'at-least') expect(upperRps).toBeUndefined();
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
