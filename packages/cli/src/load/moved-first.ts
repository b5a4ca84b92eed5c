import type { ResourceUse } from './resources.ts';
import { rateText } from './text.ts';

export interface ResourceThreshold {
  readonly resource: string;
  readonly limit: number;
  readonly reason: string;
  readonly measure: (use: ResourceUse, rateRps: number) => number | undefined;
  readonly format: (value: number) => string;
}

const milliseconds = (value: number): string => `${Number(value.toPrecision(2))} ms`;
const percent = (value: number): string => `${Math.round(value * 100)} %`;
const coresText = (value: number): string => `${value.toFixed(2)} cores`;

/** When a resource counts as moved. Each limit is where the resource itself starts to make requests wait. */
export const resourceThresholds: readonly ResourceThreshold[] = [
  {
    resource: 'event-loop delay p99',
    limit: 50,
    reason: 'idle Node shows 10 to 20 ms at the usual sampling resolution; 50 ms is requests waiting in line',
    measure: (use) => use.eventLoopDelayP99Ms,
    format: milliseconds,
  },
  {
    resource: 'event-loop utilisation',
    limit: 0.9,
    reason:
      'a queue with one server grows without bound as it nears 1; at 0.9 it is ten times the service time',
    measure: (use) => use.eventLoopUtilization,
    format: percent,
  },
  {
    resource: 'process CPU',
    limit: 0.95,
    reason: 'JavaScript of one process runs on one core',
    measure: (use) => use.processCores,
    format: coresText,
  },
  {
    resource: 'machine CPU',
    limit: 0.9,
    reason: 'an average over the step: hardly an idle moment is left for anyone, the generator included',
    measure: (use) => use.machineShare,
    format: percent,
  },
  {
    resource: 'pool wait p95',
    limit: 10,
    reason: 'a free connection is handed out in well under 1 ms; 10 ms means all are taken',
    measure: (use) => use.poolWaitP95Ms,
    format: milliseconds,
  },
  {
    resource: 'database CPU',
    limit: 0.6,
    reason: 'share of the whole machine, which the application and the generator also need',
    measure: (use) => use.databaseShare,
    format: percent,
  },
  {
    resource: 'backlog growth',
    limit: 0.05,
    reason: 'queued tasks per request that the workers did not get to; steady work adds none',
    measure: (use, rateRps) =>
      use.backlogGrowthPerSecond === undefined ? undefined : use.backlogGrowthPerSecond / rateRps,
    format: (value) => `${value.toFixed(2)} tasks per request`,
  },
];

export interface ObservedStep {
  readonly rateRps: number;
  readonly ok: boolean;
  readonly resources: ResourceUse;
}

export interface MovedFirst {
  /** Null when nothing failed, or nothing that was measured crossed its threshold. */
  readonly resource: string | null;
  readonly sentence: string;
}

/**
 * Of the resources over their threshold in a failing step, the one that crossed at the lowest rate; at the
 * same rate, the one furthest beyond its threshold. A resource that only flickered while the system held,
 * or that was as bad at the last holding rate, is no candidate.
 */
export function whatMovedFirst(
  observed: readonly ObservedStep[],
  thresholds: readonly ResourceThreshold[] = resourceThresholds,
): MovedFirst {
  const steps = observed.toSorted((left, right) => left.rateRps - right.rateRps);
  const failing = steps.filter((step) => !step.ok);
  const lowestFailingRps = failing[0]?.rateRps ?? Infinity;
  const lastPassing = steps.findLast((step) => step.ok && step.rateRps < lowestFailingRps);
  if (failing.length === 0) return { resource: null, sentence: 'nothing failed, so nothing is to blame' };

  const excess = (threshold: ResourceThreshold, step: ObservedStep): number =>
    (threshold.measure(step.resources, step.rateRps) ?? 0) / threshold.limit;
  // What did not grow past the last holding rate did not break there.
  const held = (threshold: ResourceThreshold): number =>
    lastPassing === undefined ? 0 : excess(threshold, lastPassing);
  const candidates = thresholds.filter((threshold) =>
    failing.some((step) => excess(threshold, step) >= Math.max(1, held(threshold))),
  );
  for (const step of steps) {
    const crossed = candidates
      .filter((threshold) => excess(threshold, step) >= 1)
      .toSorted((left, right) => excess(right, step) - excess(left, step))[0];
    if (crossed === undefined) continue;
    const blamed = failing.find((candidate) => excess(crossed, candidate) >= Math.max(1, held(crossed)));
    return { resource: crossed.resource, sentence: describe(crossed, lastPassing, blamed ?? step) };
  }
  const measured = thresholds.filter((threshold) =>
    failing.some((step) => threshold.measure(step.resources, step.rateRps) !== undefined),
  );
  return {
    resource: null,
    sentence: `none of what was measured crossed its threshold (${measured.map(({ resource }) => resource).join(', ')}); look at locks, downstream calls and sleeps in the slowest operation`,
  };
}

function describe(threshold: ResourceThreshold, from: ObservedStep | undefined, to: ObservedStep): string {
  const { resource, measure, format, limit } = threshold;
  const before = from === undefined ? undefined : measure(from.resources, from.rateRps);
  const after = format(measure(to.resources, to.rateRps) ?? 0);
  const movement =
    from === undefined || before === undefined
      ? `${resource} was ${after} at ${rateText(to.rateRps)} req/s`
      : `${resource} went from ${format(before)} at ${rateText(from.rateRps)} req/s to ${after} at ${rateText(to.rateRps)} req/s`;
  const { poolInUse, poolMax } = to.resources;
  const pool =
    resource === 'pool wait p95' && poolInUse !== undefined && poolMax !== undefined
      ? `; ${poolInUse} of ${poolMax} connections in use`
      : '';
  const users = resource === 'machine CPU' ? cpuUsers(to.resources) : '';
  return `${movement} (threshold ${format(limit)})${pool}${users}`;
}

/** A full machine says little; who fills it says what to do. */
function cpuUsers({ databaseCores, processCores }: ResourceUse): string {
  const users = [
    ...(databaseCores === undefined ? [] : [`the database ${coresText(databaseCores)}`]),
    ...(processCores === undefined ? [] : [`the app ${coresText(processCores)}`]),
  ];
  return users.length === 0 ? '' : `; of it ${users.join(', ')}`;
}
