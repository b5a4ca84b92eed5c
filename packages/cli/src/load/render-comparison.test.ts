import { expect, test } from 'vitest';
import { headroomChange, renderComparison } from './render-comparison.ts';
import { buildReport, reportStep } from './report.ts';
import type { LoadReport } from './report.ts';
import type { Conclusion } from './search.ts';
import { createTally } from './tally.ts';

const objectives = { default: { p95Ms: 50, errorRate: 0.001 }, byOperation: {} };

/** A measurement that began with a step at the peak in which the list took `listMs`. */
function measured(conclusion: Conclusion, listMs: number, stopped = false): LoadReport {
  const tally = createTally(objectives);
  for (let index = 0; index < 250; index += 1) tally.record('orders.list', { kind: 'ok' }, listMs);
  const step = reportStep(
    {
      planned: stopped ? 400 : 250,
      sent: 250,
      refused: 0,
      cut: stopped ? 150 : 0,
      leadInRequests: 0,
      overall: tally.overall(),
      operations: tally.byOperation(),
      sendingMs: 4_000,
      inFlightMax: 10,
      inFlightAtEnd: 5,
      drainMs: 20,
      recovered: true,
      stoppedEarly: stopped ? { kind: 'bad-share', measured: 0.5, limit: 0.2 } : undefined,
      aborted: false,
      generator: {
        sendLagP99Ms: 1,
        sendLagMaxMs: 2,
        eventLoopUtilization: 0.1,
        cores: 2,
        generatorCores: 0.2,
        machineCores: 1,
      },
      before: { atMs: 0 },
      after: { atMs: 4_000 },
    },
    { purpose: 'peak', rateRps: 200, leadInMs: 0, measuredMs: 4_000, objectives },
  );
  return buildReport({
    conclusion,
    steps: [step],
    failedSamples: 0,
    expectedPeakRps: 200,
    scenario: 'shop',
    target: 'http://127.0.0.1:3000',
    objectives,
    settings: {
      budgetMs: 60_000,
      stepMs: 4_000,
      maxRps: 10_000,
      clientTimeoutMs: 2_500,
      maxConnections: 1_000,
      maxInFlight: 5_000,
    },
    startedAt: '2026-01-01T00:00:00.000Z',
    durationMs: 58_000,
    seed: 7,
  });
}

const found = (heldRps: number, upperRps: number, listMs = 9): LoadReport =>
  measured({ outcome: 'found', heldRps, confirmed: true, upperRps }, listMs);
const nothing = measured({ outcome: 'below-peak', heldRps: 0, confirmed: false, upperRps: 200 }, 320, true);
const noisy = measured(
  { outcome: 'inconclusive-noisy', heldRps: 400, confirmed: false, upperRps: undefined },
  9,
);

test.each([
  ['every rate that holds is above those that failed', found(200, 220), found(220, 240), 'more'],
  ['nothing held before', nothing, found(200, 220), 'more'],
  ['the other way round', found(400, 420), found(200, 220), 'less'],
  ['the intervals overlap', found(200, 240), found(220, 260), 'not-told-apart'],
  [
    'nothing failed before',
    measured({ outcome: 'at-least', heldRps: 300, confirmed: true, upperRps: undefined }, 9),
    found(900, 950),
    'not-told-apart',
  ],
  ['one of them is inconclusive', found(200, 220), noisy, 'inconclusive'],
])('%s', (_case, before, after, change) => {
  expect(headroomChange(before, after)).toBe(change);
});

test('one row for each measurement, and the conclusion first', () => {
  const text = renderComparison(
    [
      { name: 'with both faults', report: nothing, counts: { statements: '10.8' } },
      { name: '+ the index', report: found(640, 680, 22), counts: { statements: '10.8' } },
      { name: '+ one statement', report: found(1_220, 1_310), counts: { statements: '1.0' } },
    ],
    { operation: 'orders.list', width: 100 },
  );
  expect(text).toMatchInlineSnapshot(`
    "Headroom < 1.00x → 6.1x: more
                                       headroom     held fails at      p50      p95    count  statements
      with both faults                  < 1.00x        0      200   320 ms   320 ms     250*        10.8
      + the index                          3.2x      640      680    22 ms    22 ms      250        10.8
      + one statement                      6.1x    1,220    1,310   9.0 ms   9.0 ms      250         1.0
      p50, p95: of orders.list at 200 req/s, the same requests each time; * stopped early: too much was
      late
      with both faults: below-peak: The expected peak of 200 req/s does not hold, and no lower rate was
      found to hold in the time (lowest tried 200 req/s)."
  `);
  expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
});

test('a measurement that says nothing is not turned into a number', () => {
  const text = renderComparison(
    [
      { name: 'before', report: found(200, 220) },
      { name: 'after', report: noisy },
    ],
    { operation: 'orders.list' },
  );
  expect(text).toMatch(/^Headroom before and after: inconclusive/);
  expect(text).toMatch(/after +unknown/);
  expect(text).toContain('after: inconclusive-noisy: The same rate passed and failed');
});
