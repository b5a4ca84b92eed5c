import { describe, expect, it } from 'vitest';
import type { Objectives } from './objectives.ts';
import { createTally } from './tally.ts';
import type { Ending, Tally } from './tally.ts';
import { describeReason, inFlightLimit, judgeStep, stopEarly } from './verdict.ts';
import type { FailReason } from './verdict.ts';

const objectives: Objectives = {
  default: { p95Ms: 100, errorRate: 0.01 },
  byOperation: { slow: { p95Ms: 1_000, errorRate: 0.01 } },
};

function fill(
  tally: Tally,
  operation: string,
  count: number,
  latencyMs: number,
  kind: Ending['kind'] = 'ok',
): void {
  const ending: Ending = kind === 'status' || kind === 'connection' ? { kind, detail: '503' } : { kind };
  for (let index = 0; index < count; index += 1) tally.record(operation, ending, latencyMs);
}

function judge(
  prepare: (tally: Tally) => void,
  more: { refused?: number; inFlightAtEnd?: number } = {},
): FailReason[] {
  const tally = createTally(objectives);
  prepare(tally);
  const overall = tally.overall();
  return [
    ...judgeStep(
      {
        rateRps: 100,
        planned: overall.count,
        refused: 0,
        inFlightAtEnd: 0,
        stoppedEarly: undefined,
        ...more,
        overall,
        operations: tally.byOperation(),
      },
      objectives,
    ),
  ];
}

describe('judgeStep', () => {
  it('holds each operation to its own objective', () => {
    expect(judge((tally) => (fill(tally, 'fast', 200, 50), fill(tally, 'slow', 200, 900)))).toEqual([]);
    expect(judge((tally) => (fill(tally, 'fast', 200, 150), fill(tally, 'slow', 200, 900)))).toMatchObject([
      { kind: 'p95', operation: 'fast', limitMs: 100 },
    ]);
  });

  it('counts rare operations in the whole, not on their own', () => {
    expect(judge((tally) => (fill(tally, 'fast', 1_000, 50), fill(tally, 'rare', 40, 500)))).toEqual([]);
    expect(judge((tally) => (fill(tally, 'fast', 1_000, 50), fill(tally, 'rare', 90, 500)))).toMatchObject([
      { kind: 'late-share' },
    ]);
  });

  it('allows errors up to the rate rounded up to a whole request', () => {
    expect(judge((tally) => (fill(tally, 'fast', 299, 50), fill(tally, 'fast', 3, 1, 'status')))).toEqual([]);
    expect(
      judge((tally) => (fill(tally, 'fast', 296, 50), fill(tally, 'fast', 4, 1, 'status'))),
    ).toMatchObject([{ kind: 'errors', operation: 'fast', limit: 0.01 }]);
  });

  it('keeps fast errors out of the latency and slow timeouts in it', () => {
    const tally = createTally(objectives);
    fill(tally, 'fast', 100, 80);
    fill(tally, 'fast', 100, 0.2, 'status');
    expect(tally.overall().latency.p50Ms).toBeGreaterThanOrEqual(80);
    fill(tally, 'fast', 100, 2_000, 'timeout');
    expect(tally.overall()).toMatchObject({ count: 300, ok: 100, errors: 200, late: 100 });
    expect(tally.overall().latency.p95Ms).toBeGreaterThanOrEqual(2_000);
    expect(tally.overall().errorKinds).toEqual({ 'status 503': 100, timeout: 100 });
  });

  it('fails what was not sent, what piled up, and what is too little to judge', () => {
    const fine = (tally: Tally): void => fill(tally, 'fast', 300, 50);
    expect(judge(fine, { refused: 4 })).toMatchObject([{ kind: 'not-sent' }]);
    expect(judge(fine, { inFlightAtEnd: inFlightLimit(100, objectives) + 1 })).toMatchObject([
      { kind: 'in-flight' },
    ]);
    expect(judge((tally) => fill(tally, 'fast', 150, 50))).toEqual([
      { kind: 'few-samples', measured: 150, limit: 200 },
    ]);
  });
});

describe('stopEarly', () => {
  it('counts requests in flight past their limit, so that a hang is seen without any answer', () => {
    const hang = { rateRps: 100, count: 0, bad: 0, overdue: 140, inFlight: [25, 50, 75, 100, 125, 150] };
    expect(stopEarly(hang, objectives)).toMatchObject({ kind: 'bad-share', measured: 1 });
  });

  it('stops a queue that grows past its bound, not one that shrinks', () => {
    const counts = { rateRps: 100, count: 1_000, bad: 0, overdue: 0 };
    expect(stopEarly({ ...counts, inFlight: [210, 220, 230, 240] }, objectives)).toMatchObject({
      kind: 'in-flight',
    });
    expect(stopEarly({ ...counts, inFlight: [280, 260, 240, 230] }, objectives)).toBeUndefined();
  });
});

it('writes a reason with the measured value and the limit', () => {
  expect(describeReason({ kind: 'p95', operation: 'orders.place', measuredMs: 212.4, limitMs: 200 })).toBe(
    'orders.place p95 212 ms, objective 200 ms',
  );
  expect(describeReason({ kind: 'errors', operation: 'a', measured: 0.0213, limit: 0.001 })).toBe(
    'a errors 2.13 %, objective 0.1 %',
  );
});
