import type { AppTelemetry, Plan } from 'plimsoll';
import { databaseCpuMs, findPostmaster } from './database-cpu.ts';
import type { Objectives } from './objectives.ts';
import type { ResourceSample } from './resources.ts';

/** The objectives of a plan, by operation id. */
export function objectivesOf(plan: Plan): Objectives {
  const { default: all, operations = [] } = plan.objectives;
  return {
    default: all,
    byOperation: Object.fromEntries(
      operations.map(({ operation, p95Ms, errorRate }) => [operation.id, { p95Ms, errorRate }]),
    ),
  };
}

/**
 * Samples a running Plimsoll app through its `/-/telemetry`, and the CPU of the database servers where they
 * run on this machine.
 */
export async function createSampler(
  target: string,
  databaseUrls: readonly string[],
): Promise<() => Promise<ResourceSample>> {
  const found = await Promise.all(databaseUrls.map((url) => findPostmaster(url)));
  const postmasters = found.filter((pid) => pid !== undefined);
  let previousMs = performance.now();
  return async () => {
    const atMs = performance.now();
    const lastMs = Math.max(1_000, Math.round(atMs - previousMs));
    previousMs = atMs;
    const response = await fetch(`${target}/-/telemetry?lastMs=${lastMs}`, {
      signal: AbortSignal.timeout(3_000),
    });
    if (!response.ok) throw new Error(`${target}/-/telemetry answered ${response.status}`);
    const telemetry = (await response.json()) as AppTelemetry;
    const databaseMs = await databaseCpuMs(postmasters);
    const pools = Object.values(telemetry.pools);
    // The pool that is nearest to its limit.
    const fullest = pools.toSorted((a, b) => b.inUse / b.max - a.inUse / a.max)[0];
    return {
      atMs,
      processCpuMs: telemetry.process.cpuMs,
      eventLoopUtilization: telemetry.recent.eventLoop.utilization,
      eventLoopDelayP99Ms: telemetry.recent.eventLoop.delayP99Ms,
      poolWaitP95Ms: telemetry.recent.poolWait.p95Ms,
      ...(fullest === undefined ? {} : { poolInUse: fullest.inUse, poolMax: fullest.max }),
      ...(databaseMs === undefined ? {} : { databaseCpuMs: databaseMs }),
      backlog: telemetry.tasks.outbox + telemetry.tasks.ready + telemetry.tasks.waiting,
    };
  };
}
