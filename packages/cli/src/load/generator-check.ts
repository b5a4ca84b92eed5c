import { availableParallelism, cpus } from 'node:os';
import { performance } from 'node:perf_hooks';
import type { FailReason } from './verdict.ts';

/** What the generator and the machine were doing while a step was sent. */
export interface GeneratorUse {
  /** Actual minus intended start. */
  readonly sendLagP99Ms: number;
  readonly sendLagMaxMs: number;
  readonly eventLoopUtilization: number;
  readonly cores: number;
  /** Cores used by this process. */
  readonly generatorCores: number;
  /** Cores used by everything on the machine, this process included. */
  readonly machineCores: number;
}

/** Starts measuring; the returned function ends the measurement. */
export function watchGenerator(): () => Omit<GeneratorUse, 'sendLagP99Ms' | 'sendLagMaxMs'> {
  const startMs = performance.now();
  const loopStart = performance.eventLoopUtilization();
  const cpuStart = process.cpuUsage();
  const machineStart = machineTimes();
  return () => {
    const cpu = process.cpuUsage(cpuStart);
    const machine = machineTimes();
    const cores = availableParallelism();
    const totalMs = machine.totalMs - machineStart.totalMs;
    const busyShare = totalMs > 0 ? (machine.busyMs - machineStart.busyMs) / totalMs : 0;
    return {
      eventLoopUtilization: performance.eventLoopUtilization(loopStart).utilization,
      cores,
      generatorCores: (cpu.user + cpu.system) / 1000 / Math.max(1, performance.now() - startMs),
      machineCores: busyShare * cores,
    };
  };
}

function machineTimes(): { readonly busyMs: number; readonly totalMs: number } {
  let idleMs = 0;
  let totalMs = 0;
  for (const { times } of cpus()) {
    idleMs += times.idle;
    totalMs += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { busyMs: totalMs - idleMs, totalMs };
}

export const generatorLimits = {
  /** The 1 ms timer and a busy neighbour explain a few milliseconds; beyond that the arrivals are not the plan's. */
  sendLagP99Ms: 5,
  /** ... or this share of the tightest p95 objective, when that is more. */
  sendLagShareOfP95: 0.1,
  /** Above this, time measured in this process is mostly its own queue. */
  eventLoopUtilization: 0.9,
} as const;

/**
 * Why the failure of a step says nothing about the server; empty when it does. Send lag is part of every
 * latency, so it is a fault only where it could have made the difference: a p95 that is over its limit
 * even without the longest lag, or an error answer, is the server's own.
 */
export function generatorFaults(
  use: GeneratorUse,
  reasons: readonly FailReason[],
  tightestP95Ms: number,
): readonly string[] {
  if (reasons.length === 0) return [];
  const { sendLagP99Ms, sendLagShareOfP95, eventLoopUtilization } = generatorLimits;
  if (use.eventLoopUtilization > eventLoopUtilization) {
    const busy = Math.round(use.eventLoopUtilization * 100);
    return [`own event loop ${busy} % busy, allowed ${eventLoopUtilization * 100} %`];
  }
  const lagLimitMs = Math.max(sendLagP99Ms, sendLagShareOfP95 * tightestP95Ms);
  const failsAnyway = reasons.some(
    (reason) =>
      reason.kind === 'errors' ||
      reason.kind === 'error-share' ||
      (reason.kind === 'p95' && reason.measuredMs - use.sendLagMaxMs > reason.limitMs),
  );
  if (use.sendLagP99Ms <= lagLimitMs || failsAnyway) return [];
  return [`send lag p99 ${use.sendLagP99Ms.toFixed(1)} ms, allowed ${lagLimitMs.toFixed(1)} ms`];
}
