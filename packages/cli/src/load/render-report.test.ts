import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { Objectives } from './objectives.ts';
import { renderProgress } from './progress.ts';
import { renderReport } from './render-report.ts';
import { buildReport, reportStep } from './report.ts';
import type { LoadReport, StepReport } from './report.ts';
import type { Conclusion, Purpose } from './search.ts';
import { createTally } from './tally.ts';

const objectives: Objectives = {
  default: { p95Ms: 100, errorRate: 0.001 },
  byOperation: { 'orders.place': { p95Ms: 250, errorRate: 0.001 } },
};

function stepAt(rateRps: number, purpose: Purpose, placeMs: number): StepReport {
  const tally = createTally(objectives);
  for (let index = 0; index < 500; index += 1) {
    tally.record('products.list', { kind: 'ok' }, 4 + index / 100);
    tally.record('orders.place', { kind: 'ok' }, placeMs);
  }
  return reportStep(
    {
      planned: 1_000,
      sent: 1_000,
      refused: 0,
      cut: 0,
      leadInRequests: 0,
      overall: tally.overall(),
      operations: tally.byOperation(),
      sendingMs: 4_000,
      inFlightMax: 10,
      inFlightAtEnd: 5,
      drainMs: 20,
      recovered: true,
      stoppedEarly: undefined,
      aborted: false,
      generator: {
        sendLagP99Ms: 1.2,
        sendLagMaxMs: 2,
        eventLoopUtilization: 0.12,
        cores: 2,
        generatorCores: 0.41,
        machineCores: 1.2,
      },
      before: { atMs: 0 },
      after: { atMs: 4_000, poolWaitP95Ms: placeMs > 250 ? 61 : 0.2, poolInUse: 4, poolMax: 4 },
    },
    { purpose, rateRps, leadInMs: 0, measuredMs: 4_000, objectives },
  );
}

function reportOf(conclusion: Conclusion, steps: readonly StepReport[]): LoadReport {
  return buildReport({
    conclusion,
    steps,
    failedSamples: 0,
    expectedPeakRps: 100,
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

const found = reportOf({ outcome: 'found', heldRps: 340, confirmed: true, upperRps: 380 }, [
  stepAt(100, 'peak', 20),
  stepAt(340, 'up', 90),
  stepAt(380, 'bisect', 700),
  stepAt(380, 'repeat', 720),
  stepAt(340, 'confirm', 95),
]);

describe('renderReport', () => {
  it('begins with the answer and ends with what to do', () => {
    const lines = renderReport(found).split('\n');
    expect(lines[0]).toBe(
      'Headroom 3.4x  held 340 req/s of an expected peak of 100 req/s (interval 340..380)',
    );
    expect(lines.at(-1)).toMatch(/^Next {9}plimsoll /u);
  });

  it('shows the confirmed step by operation, why the next rate fails, and what moved first', () => {
    const text = renderReport(found);
    expect(text).toMatch(/orders\.place +500 .* 95 ms .* 250 ms \/ 0\.1 % +✓ holds/u);
    expect(text).toContain('Fails at     380 req/s: orders.place p95 7');
    expect(text).toContain('pool wait p95 went from 0.2 ms at 340 req/s to 61 ms at 380 req/s');
    expect(text).toContain('p95 of orders.place against rate');
    expect(text).toContain('used 0.4 of 2 cores');
  });

  it('is the same text with colour and without, and fits its width', () => {
    const plain = renderReport(found, { width: 80 });
    expect(plain).toBe(stripVTControlCharacters(plain));
    const coloured = renderReport(found, { width: 80, color: true });
    expect(coloured).not.toBe(plain);
    expect(stripVTControlCharacters(coloured)).toBe(plain);
    const [first = '', ...rest] = plain.split('\n');
    expect(first.length).toBeLessThanOrEqual(90);
    for (const line of rest) expect(line.length, line).toBeLessThanOrEqual(80);
  });

  it('notes what a reader should doubt', () => {
    const stuck = { ...stepAt(380, 'up', 700), recovered: false };
    const again = stepAt(340, 'repeat', 700);
    const { findings } = reportOf({ outcome: 'found', heldRps: 340, confirmed: true, upperRps: 380 }, [
      stuck,
      again,
      stepAt(340, 'confirm', 90),
    ]);
    expect(findings).toEqual([
      'did not recover within 5 s after the load of 380 req/s ended: requests were still unanswered',
      'passed once and failed once at 340 req/s: a pause or a neighbour',
    ]);
  });

  it('never rounds a headroom up, and does not state one that was not measured', () => {
    const first = (conclusion: Conclusion, steps: readonly StepReport[]): string =>
      renderReport(reportOf(conclusion, steps)).split('\n')[0] ?? '';
    const held = { confirmed: true, upperRps: undefined } as const;
    expect(first({ ...held, outcome: 'at-least', heldRps: 199 }, [stepAt(199, 'confirm', 20)])).toContain(
      '>= 1.9x',
    );
    const nothing = { outcome: 'below-peak', heldRps: 0, confirmed: false, upperRps: 44 } as const;
    expect(first(nothing, [stepAt(44, 'down', 700)])).toContain('< 0.44x  held no rate');
    expect(first({ ...nothing, outcome: 'aborted', upperRps: undefined }, [])).toContain('unknown');
  });
});

it('renderProgress keeps to one line of its width, with the newest verdicts', () => {
  const line = renderProgress(
    {
      phase: 'measure',
      rateRps: 340,
      p95Ms: 41,
      inFlight: 12,
      elapsedMs: 30_000,
      budgetMs: 60_000,
      verdicts: Array.from({ length: 20 }, (_, index) => ({ rateRps: 100 + index, ok: index !== 19 })),
    },
    { width: 80 },
  );
  expect(line).toMatch(/^━{8}─{8} 30s\/60s {2}340 req\/s {2}p95 41 ms {2}12 in flight {2}.*✗119$/u);
  expect(line.length).toBeLessThanOrEqual(80);
});
