import { describe, expect, it } from 'vitest';
import { generatorFaults } from './generator-check.ts';
import type { FailReason } from './verdict.ts';

const calm = {
  sendLagP99Ms: 1,
  sendLagMaxMs: 3,
  eventLoopUtilization: 0.2,
  cores: 2,
  generatorCores: 0.2,
  machineCores: 1,
};
const lagging = { ...calm, sendLagP99Ms: 30, sendLagMaxMs: 60 };
const p95At = (measuredMs: number): FailReason[] => [
  { kind: 'p95', operation: 'list', measuredMs, limitMs: 100 },
];

describe('generatorFaults', () => {
  it('finds none in a step that held, or with a generator on time', () => {
    expect(generatorFaults(lagging, [], 100)).toEqual([]);
    expect(generatorFaults(calm, p95At(140), 100)).toEqual([]);
  });

  it('takes the blame for a p95 that its lag could explain, not for one far beyond it', () => {
    expect(generatorFaults(lagging, p95At(140), 100)).toEqual(['send lag p99 30.0 ms, allowed 10.0 ms']);
    expect(generatorFaults(lagging, p95At(161), 100)).toEqual([]);
    expect(generatorFaults(lagging, p95At(140), 400)).toEqual([]);
  });

  it('does not take the blame for error answers, unless it had no time to read them', () => {
    const errors: FailReason[] = [{ kind: 'errors', operation: 'list', measured: 0.5, limit: 0.01 }];
    expect(generatorFaults(lagging, errors, 100)).toEqual([]);
    expect(generatorFaults({ ...lagging, eventLoopUtilization: 0.97 }, errors, 100)).toEqual([
      'own event loop 97 % busy, allowed 90 %',
    ]);
  });
});
