import { describe, expect, it } from 'vitest';
import { whatMovedFirst } from './moved-first.ts';
import { resourceUse } from './resources.ts';

const calm = { machineShare: 0.3, eventLoopUtilization: 0.3, poolWaitP95Ms: 0.2, poolInUse: 1, poolMax: 4 };
const waiting = { ...calm, poolWaitP95Ms: 61, poolInUse: 4 };

describe('whatMovedFirst', () => {
  it('names the resource that crossed at the lowest rate, with numbers', () => {
    const moved = whatMovedFirst([
      { rateRps: 675, ok: false, resources: { ...waiting, eventLoopUtilization: 0.99 } },
      { rateRps: 300, ok: true, resources: calm },
      { rateRps: 450, ok: false, resources: waiting },
    ]);
    expect(moved.resource).toBe('pool wait p95');
    expect(moved.sentence).toBe(
      'pool wait p95 went from 0.2 ms at 300 req/s to 61 ms at 450 req/s (threshold 10 ms); 4 of 4 connections in use',
    );
  });

  it('takes the one furthest beyond its threshold when two cross at the same rate', () => {
    const both = { ...waiting, eventLoopUtilization: 0.95 };
    expect(whatMovedFirst([{ rateRps: 450, ok: false, resources: both }]).resource).toBe('pool wait p95');
  });

  it('does not blame what flickered while the system held', () => {
    const moved = whatMovedFirst([
      { rateRps: 100, ok: true, resources: { ...calm, eventLoopDelayP99Ms: 80 } },
      { rateRps: 450, ok: false, resources: waiting },
    ]);
    expect(moved.resource).toBe('pool wait p95');
  });

  it('does not blame what was worse while the system still held', () => {
    const moved = whatMovedFirst([
      { rateRps: 300, ok: true, resources: { ...calm, poolWaitP95Ms: 27 } },
      { rateRps: 450, ok: false, resources: { ...calm, poolWaitP95Ms: 18, machineShare: 0.93 } },
    ]);
    expect(moved.resource).toBe('machine CPU');
  });

  it('says who fills a full machine', () => {
    const full = { ...calm, machineShare: 1, databaseCores: 1.2, processCores: 0.6 };
    const { resource, sentence } = whatMovedFirst([{ rateRps: 450, ok: false, resources: full }]);
    expect(resource).toBe('machine CPU');
    expect(sentence).toContain('of it the database 1.20 cores, the app 0.60 cores');
  });

  it('says so when nothing crossed, or nothing failed', () => {
    const quiet = whatMovedFirst([{ rateRps: 450, ok: false, resources: calm }]);
    expect(quiet.resource).toBeNull();
    expect(quiet.sentence).toContain('none of what was measured crossed its threshold');
    expect(whatMovedFirst([{ rateRps: 450, ok: true, resources: waiting }]).resource).toBeNull();
  });
});

describe('resourceUse', () => {
  it('turns counters into cores and leaves out what is absent', () => {
    const use = resourceUse(
      { atMs: 1_000, processCpuMs: 500, databaseCpuMs: 100, backlog: 0 },
      { atMs: 3_000, processCpuMs: 2_300, databaseCpuMs: 1_100, backlog: 40 },
      { cores: 2, machineCores: 1.5 },
    );
    expect(use).toEqual({
      machineShare: 0.75,
      processCores: 0.9,
      databaseCores: 0.5,
      databaseShare: 0.25,
      backlogGrowthPerSecond: 20,
    });
    expect(resourceUse(undefined, undefined, { cores: 2, machineCores: 1 })).toEqual({ machineShare: 0.5 });
  });
});
