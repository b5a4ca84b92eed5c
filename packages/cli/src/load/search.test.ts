import { describe, expect, it } from 'vitest';
import { seededRandom } from './random.ts';
import { conclude, firstRate, nextAction } from './search.ts';
import type { Attempt, Conclusion, SearchConfig } from './search.ts';

const config: SearchConfig = {
  expectedPeakRps: 100,
  maxRps: 10_000,
  budgetMs: 60_000,
  stepMs: 4_000,
  longestStepMs: 15_000,
  leadInMs: 0,
  drainReserveMs: 2_000,
  minSamples: 220,
};

interface Run extends Conclusion {
  readonly history: readonly Attempt[];
  readonly elapsedMs: number;
}

/** Plays the search against a system given as a function of the rate, on a clock of its own. */
function play(system: (rateRps: number, step: number) => Attempt['result'], given = config): Run {
  const history: Attempt[] = [];
  let elapsedMs = 4_000; // the warm-up
  for (;;) {
    const action = nextAction(given, history, elapsedMs);
    if (action.kind === 'stop') return { ...action, history, elapsedMs };
    const result = system(action.rateRps, history.length);
    history.push({ rateRps: action.rateRps, purpose: action.purpose, result });
    elapsedMs += given.leadInMs + action.measuredMs + (result === 'pass' ? 50 : 1_500);
  }
}

const holdsUpTo =
  (capacityRps: number) =>
  (rateRps: number): Attempt['result'] =>
    rateRps <= capacityRps ? 'pass' : 'fail';

describe('search', () => {
  it.each([130, 250, 480, 900])(
    'brackets a capacity of %d req/s and confirms a rate below it',
    (capacity) => {
      const run = play(holdsUpTo(capacity));
      expect(run).toMatchObject({ outcome: 'found', confirmed: true });
      expect(run.heldRps).toBeLessThanOrEqual(capacity);
      expect(run.upperRps).toBeGreaterThan(capacity);
      expect(run.heldRps).toBeGreaterThan(capacity / 1.26);
      expect(run.history.at(-1)).toMatchObject({ purpose: 'confirm', rateRps: run.heldRps });
    },
  );

  it('halves the gap down to its precision when there is time', () => {
    const run = play(holdsUpTo(480), { ...config, budgetMs: 300_000 });
    expect((run.upperRps ?? 0) / run.heldRps).toBeLessThanOrEqual(1.08);
  });

  it('asks the expected peak first, and a failure twice before believing it', () => {
    const run = play(holdsUpTo(120));
    expect(run.history[0]).toMatchObject({ purpose: 'peak', rateRps: 100 });
    const failing = run.history.filter(({ rateRps }) => rateRps === 200);
    expect(failing.map(({ purpose }) => purpose)).toEqual(['up', 'repeat']);
  });

  it('does not let a single stall decide, wherever it falls', () => {
    for (let stalled = 0; stalled < 6; stalled += 1) {
      const run = play((rate, step) => (step === stalled ? 'fail' : holdsUpTo(500)(rate)), {
        ...config,
        budgetMs: 120_000,
      });
      expect(run.outcome).toBe('found');
      expect(run.heldRps).toBeGreaterThan(400);
    }
  });

  it('goes down from a peak that fails and still measures what holds', () => {
    const run = play(holdsUpTo(70));
    expect(run).toMatchObject({ outcome: 'below-peak', confirmed: true });
    expect(run.heldRps).toBeGreaterThan(54);
    expect(run.heldRps).toBeLessThanOrEqual(70);
  });

  it('says below-peak without a held rate when nothing holds', () => {
    expect(play(holdsUpTo(0))).toMatchObject({ outcome: 'below-peak', heldRps: 0, confirmed: false });
  });

  it('reports at-least at the cap, and when the time is up, without a failing rate', () => {
    expect(play(holdsUpTo(Infinity), { ...config, maxRps: 300 })).toMatchObject({
      outcome: 'at-least',
      heldRps: 300,
      confirmed: true,
      upperRps: undefined,
    });
    const run = play(holdsUpTo(Infinity), { ...config, budgetMs: 25_000 });
    expect(run).toMatchObject({ outcome: 'at-least', confirmed: true, upperRps: undefined });
  });

  it('starts a low peak at a rate with enough samples, then answers the peak itself', () => {
    const low = { ...config, expectedPeakRps: 20 };
    expect(firstRate(low)).toBe(55);
    const run = play(holdsUpTo(30), { ...low, budgetMs: 120_000 });
    expect(
      run.history.some(({ rateRps, result }) => rateRps <= 30 && rateRps >= 20 && result === 'pass'),
    ).toBe(true);
    expect(run.outcome).toBe('found');
  });

  it('steps down from a confirmation that fails', () => {
    const run = play((rate, step) => (step < 7 ? holdsUpTo(400)(rate) : holdsUpTo(300)(rate)), {
      ...config,
      budgetMs: 120_000,
    });
    expect(run).toMatchObject({ outcome: 'found', confirmed: true });
    expect(run.heldRps).toBeLessThanOrEqual(300);
    expect(run.history.filter(({ purpose }) => purpose === 'confirm').length).toBeGreaterThan(1);
  });

  it('blames the generator when its faults decided, and keeps what held', () => {
    const run = play((rate) => (rate <= 400 ? 'pass' : 'generator'));
    expect(run.outcome).toBe('inconclusive-generator');
    expect(run.heldRps).toBeGreaterThan(300);
  });

  it('is inconclusive when the confirmation fails and the time is up', () => {
    const only = conclude(config, [
      { rateRps: 100, purpose: 'peak', result: 'pass' },
      { rateRps: 100, purpose: 'confirm', result: 'fail' },
    ]);
    expect(only).toMatchObject({ outcome: 'inconclusive-noisy', heldRps: 0 });
  });

  it('finds a capacity on average in noise', () => {
    const random = seededRandom(3);
    const held = Array.from({ length: 40 }, () => {
      const noisy = (rate: number): Attempt['result'] =>
        random() < 0.05 ? 'fail' : random() < 1 / (1 + Math.exp((rate / 480 - 1) / 0.03)) ? 'pass' : 'fail';
      return play(noisy, { ...config, budgetMs: 90_000 }).heldRps;
    }).toSorted((a, b) => a - b);
    expect(held[20]).toBeGreaterThan(400);
    expect(held[20]).toBeLessThan(500);
  });
});
