import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seeded } from '../limit/fixtures/simulation.ts';
import { serveOnOneLoop, type Served } from './fixtures/one-loop.ts';

const workMs = 10;
const perSecond = 1_000 / workMs;
const goodWithinMs = 500;
const seeds = fc.integer({ min: 1, max: 1_000_000 });
// The same runs each time, as for the limit.
const runs = { numRuns: 10, seed: 42 };

async function serve(
  seed: number,
  seconds: number,
  load: (nowMs: number) => number,
): Promise<readonly Served[]> {
  return serveOnOneLoop({ random: seeded(seed), load, seconds, workMs, refuseMs: 0.2, timeoutMs: 1_000 });
}

const share = (served: readonly Served[], ending: Served['ending']): number =>
  served.filter((one) => one.ending === ending).length / served.length;
const isGood = ({ ending, tookMs }: Served): boolean => ending === 'answered' && tookMs <= goodWithinMs;

describe('an event loop with requests of 10 ms, simulated', () => {
  test('hardly anything is refused at 70 % of what it can do, and nobody waits in vain', async () => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const served = await serve(seed, 10, () => 0.7);
        expect(share(served, 'refused')).toBeLessThan(0.03);
        expect(share(served, 'timeout')).toBe(0);
      }),
      runs,
    );
  });

  test('a load that jumps from half of what it can do to as much as four times costs nobody a timeout', async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.constantFrom(2, 3, 4), async (seed, factor) => {
        const served = await serve(seed, 8, (nowMs) => (nowMs < 2_000 ? 0.5 : factor));
        const overloaded = served.filter(({ arrivedMs }) => arrivedMs >= 2_000);
        expect(share(overloaded, 'timeout')).toBe(0);
        expect(overloaded.filter(isGood).length / 6 / perSecond).toBeGreaterThan(0.8);
      }),
      runs,
    );
  });

  test('within a second after the overload hardly anything is refused', async () => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const served = await serve(seed, 9, (nowMs) => (nowMs < 4_000 ? 4 : 0.5));
        const later = served.filter(({ arrivedMs }) => arrivedMs >= 5_000);
        expect(share(later, 'refused')).toBeLessThan(0.03);
      }),
      runs,
    );
  });
});
