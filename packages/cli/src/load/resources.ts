import type { GeneratorUse } from './generator-check.ts';

/**
 * What the system under test says about itself, sampled at the start and at the end of each step. CPU
 * times are cumulative counters; the rest describes the time since the last sample. Any may be absent.
 */
export interface ResourceSample {
  readonly atMs: number;
  readonly processCpuMs?: number;
  /** 0..1 since the last sample. */
  readonly eventLoopUtilization?: number;
  readonly eventLoopDelayP99Ms?: number;
  readonly poolWaitP95Ms?: number;
  readonly poolInUse?: number;
  readonly poolMax?: number;
  readonly databaseCpuMs?: number;
  /** Queued durable tasks. */
  readonly backlog?: number;
}

/** The same, for one step: counters turned into cores, the backlog into its growth. */
export interface ResourceUse {
  readonly processCores?: number;
  readonly eventLoopUtilization?: number;
  readonly eventLoopDelayP99Ms?: number;
  readonly poolWaitP95Ms?: number;
  readonly poolInUse?: number;
  readonly poolMax?: number;
  readonly databaseCores?: number;
  /** Share of the machine, 0..1. */
  readonly databaseShare?: number;
  readonly backlogGrowthPerSecond?: number;
  readonly machineShare: number;
}

export function resourceUse(
  before: ResourceSample | undefined,
  after: ResourceSample | undefined,
  machine: Pick<GeneratorUse, 'cores' | 'machineCores'>,
): ResourceUse {
  const machineShare = machine.machineCores / machine.cores;
  if (after === undefined) return { machineShare };
  const perMs = (key: 'processCpuMs' | 'databaseCpuMs' | 'backlog'): number | undefined => {
    const [from, to] = [before?.[key], after[key]];
    const elapsedMs = before === undefined ? 0 : after.atMs - before.atMs;
    return from === undefined || to === undefined || elapsedMs <= 0 ? undefined : (to - from) / elapsedMs;
  };
  const databaseCores = perMs('databaseCpuMs');
  const backlogGrowth = perMs('backlog');
  return present({
    machineShare,
    processCores: perMs('processCpuMs'),
    eventLoopUtilization: after.eventLoopUtilization,
    eventLoopDelayP99Ms: after.eventLoopDelayP99Ms,
    poolWaitP95Ms: after.poolWaitP95Ms,
    poolInUse: after.poolInUse,
    poolMax: after.poolMax,
    databaseCores,
    databaseShare: databaseCores === undefined ? undefined : databaseCores / machine.cores,
    backlogGrowthPerSecond: backlogGrowth === undefined ? undefined : backlogGrowth * 1000,
  });
}

type Absent<T> = { readonly [K in keyof T]: T[K] | undefined } & Pick<ResourceUse, 'machineShare'>;

/** Leaves out what was not measured, so that the report holds no empty fields. */
function present(use: Absent<Required<ResourceUse>>): ResourceUse {
  return {
    ...Object.fromEntries(Object.entries(use).filter(([, value]) => value !== undefined)),
    machineShare: use.machineShare,
  };
}
