import fc from 'fast-check';
import { expect, it } from 'vitest';
import { seededRandom } from './random.ts';
import { scheduleStep } from './scenario.ts';
import type { Scenario } from './scenario.ts';

const gaps = fc.option(
  fc
    .array(fc.double({ min: 0, max: 20, noNaN: true }), { minLength: 1 })
    .filter((all) => all.some((gap) => gap > 0.01)),
  { nil: undefined },
);

it('plans whole sessions in order, at the stated rate, the same for the same seed', () => {
  fc.assert(
    fc.property(
      fc.record({
        rateRps: fc.integer({ min: 20, max: 2_000 }),
        offsetMs: fc.integer({ min: 0, max: 2_000 }),
        seed: fc.integer(),
        firstSession: fc.nat(1_000),
        gaps,
      }),
      ({ rateRps, offsetMs, seed, firstSession, gaps: given }) => {
        const scenario: Scenario = {
          name: 'two requests',
          requestsPerSession: 2,
          session: (index) => [
            { operation: 'first', method: 'GET', path: `/${index}`, afterMs: 0 },
            { operation: 'second', method: 'GET', path: `/${index}`, afterMs: offsetMs },
          ],
          ...(given === undefined ? {} : { gaps: given }),
        };
        const plan = () =>
          scheduleStep({
            scenario,
            rateRps,
            leadInMs: offsetMs,
            measuredMs: 2_000,
            firstSession,
            random: seededRandom(seed),
          });
        const { requests, nextSession } = plan();
        expect(plan().requests).toEqual(requests);

        const sessions = Math.round((rateRps * (2_000 + offsetMs)) / 2_000);
        expect(nextSession).toBe(firstSession + sessions);
        const firsts = requests.filter(({ request }) => request.operation === 'first');
        expect(firsts.map(({ request }) => request.path)).toEqual(
          firsts.map((_, index) => `/${firstSession + index}`),
        );
        expect(firsts.length).toBe(sessions);
        for (const [index, { atMs, measured }] of requests.entries()) {
          expect(atMs).toBeGreaterThanOrEqual(requests[index - 1]?.atMs ?? 0);
          expect(atMs).toBeLessThan(2_000 + offsetMs);
          expect(measured).toBe(atMs >= offsetMs);
        }
      },
    ),
  );
});
