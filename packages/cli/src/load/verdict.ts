import { loosestP95Ms, objectiveOf } from './objectives.ts';
import type { Objectives } from './objectives.ts';
import type { OperationCounts } from './tally.ts';

/** Each reason is data: what was measured and what the limit was. Shares are 0..1. */
export type FailReason =
  | {
      readonly kind: 'p95';
      readonly operation: string;
      readonly measuredMs: number;
      readonly limitMs: number;
    }
  | { readonly kind: 'errors'; readonly operation: string; readonly measured: number; readonly limit: number }
  /** All operations together, those too rare for a verdict of their own included: share later than their p95. */
  | { readonly kind: 'late-share'; readonly measured: number; readonly limit: number }
  | { readonly kind: 'error-share'; readonly measured: number; readonly limit: number }
  | { readonly kind: 'not-sent'; readonly measured: number; readonly limit: number }
  | { readonly kind: 'in-flight'; readonly measured: number; readonly limit: number }
  | { readonly kind: 'bad-share'; readonly measured: number; readonly limit: number }
  | { readonly kind: 'few-samples'; readonly measured: number; readonly limit: number };

export const verdictLimits = {
  /** Below this a p95 is decided by ten requests. */
  samples: 200,
  samplesPerOperation: 100,
  notSentShare: 0.01,
  lateShare: 0.05,
  /** Ends a step early, with the in-flight bound below. */
  badShare: 0.2,
  badShareSamples: 50,
  earliestStopMs: 1_500,
} as const;

/**
 * More requests in flight than this means, by Little's law, that the mean latency is over twice the
 * loosest p95 objective: a queue is growing.
 */
export function inFlightLimit(rateRps: number, objectives: Objectives): number {
  return Math.max(20, Math.ceil((2 * rateRps * loosestP95Ms(objectives)) / 1000));
}

export interface Judged {
  readonly rateRps: number;
  readonly planned: number;
  readonly refused: number;
  /** In flight when the last request of the plan was due. */
  readonly inFlightAtEnd: number;
  readonly overall: OperationCounts;
  readonly operations: Readonly<Record<string, OperationCounts>>;
  readonly stoppedEarly: FailReason | undefined;
}

/** Everything that is wrong with a step; it held when the list is empty. */
export function judgeStep(step: Judged, objectives: Objectives): readonly FailReason[] {
  const reasons: FailReason[] = step.stoppedEarly === undefined ? [] : [step.stoppedEarly];
  for (const [operation, counts] of Object.entries(step.operations)) {
    if (counts.count >= verdictLimits.samplesPerOperation) {
      reasons.push(...judgeOperation(operation, counts, objectives));
    }
  }
  if (!reasons.some((reason) => reason.kind === 'p95' || reason.kind === 'errors')) {
    reasons.push(...judgeTogether(step, objectives));
  }
  const notSent = step.planned === 0 ? 0 : step.refused / step.planned;
  if (notSent > verdictLimits.notSentShare) {
    reasons.push({ kind: 'not-sent', measured: notSent, limit: verdictLimits.notSentShare });
  }
  const mostInFlight = inFlightLimit(step.rateRps, objectives);
  if (step.inFlightAtEnd > mostInFlight && step.stoppedEarly?.kind !== 'in-flight') {
    reasons.push({ kind: 'in-flight', measured: step.inFlightAtEnd, limit: mostInFlight });
  }
  if (reasons.length === 0 && step.overall.count < verdictLimits.samples) {
    return [{ kind: 'few-samples', measured: step.overall.count, limit: verdictLimits.samples }];
  }
  return reasons;
}

function judgeOperation(operation: string, counts: OperationCounts, objectives: Objectives): FailReason[] {
  const objective = objectiveOf(objectives, operation);
  const reasons: FailReason[] = [];
  if (counts.latency.p95Ms > objective.p95Ms) {
    const measuredMs = counts.latency.p95Ms;
    reasons.push({ kind: 'p95', operation, measuredMs, limitMs: objective.p95Ms });
  }
  if (counts.errors > Math.ceil(objective.errorRate * counts.count)) {
    const measured = counts.errors / counts.count;
    reasons.push({ kind: 'errors', operation, measured, limit: objective.errorRate });
  }
  return reasons;
}

function judgeTogether({ overall, operations }: Judged, objectives: Objectives): FailReason[] {
  if (overall.count === 0) return [];
  let allowedErrors = 0;
  for (const [operation, { count }] of Object.entries(operations)) {
    allowedErrors += count * objectiveOf(objectives, operation).errorRate;
  }
  const reasons: FailReason[] = [];
  const lateShare = overall.late / overall.count;
  if (lateShare > verdictLimits.lateShare) {
    reasons.push({ kind: 'late-share', measured: lateShare, limit: verdictLimits.lateShare });
  }
  if (overall.errors > Math.ceil(allowedErrors)) {
    const measured = overall.errors / overall.count;
    reasons.push({ kind: 'error-share', measured, limit: allowedErrors / overall.count });
  }
  return reasons;
}

export interface Watched {
  readonly rateRps: number;
  readonly count: number;
  readonly bad: number;
  /** Still in flight and already older than their limit. */
  readonly overdue: number;
  /** Sizes at equal intervals since the step began. */
  readonly inFlight: readonly number[];
}

/** Whether going on would only deepen the overload. Asked only after `earliestStopMs`. */
export function stopEarly(watched: Watched, objectives: Objectives): FailReason | undefined {
  const seen = watched.count + watched.overdue;
  const badShare = seen === 0 ? 0 : (watched.bad + watched.overdue) / seen;
  if (seen >= verdictLimits.badShareSamples && badShare > verdictLimits.badShare) {
    return { kind: 'bad-share', measured: badShare, limit: verdictLimits.badShare };
  }
  const limit = inFlightLimit(watched.rateRps, objectives);
  const recent = watched.inFlight.slice(-4);
  const growing =
    recent.length === 4 && recent.every((size, index) => index === 0 || size > (recent[index - 1] ?? 0));
  const measured = recent.at(-1) ?? 0;
  return growing && measured > limit ? { kind: 'in-flight', measured, limit } : undefined;
}

/** One reason as a sentence. */
export function describeReason(reason: FailReason): string {
  const percent = (share: number): string => `${Number((share * 100).toPrecision(3))} %`;
  switch (reason.kind) {
    case 'p95':
      return `${reason.operation} p95 ${Math.round(reason.measuredMs)} ms, objective ${reason.limitMs} ms`;
    case 'errors':
      return `${reason.operation} errors ${percent(reason.measured)}, objective ${percent(reason.limit)}`;
    case 'late-share':
      return `${percent(reason.measured)} of all requests over their p95 objective, allowed ${percent(reason.limit)}`;
    case 'error-share':
      return `${percent(reason.measured)} of all requests failed, allowed ${percent(reason.limit)}`;
    case 'not-sent':
      return `${percent(reason.measured)} not sent (too many in flight), allowed ${percent(reason.limit)}`;
    case 'in-flight':
      return `${reason.measured} requests in flight, allowed ${reason.limit}`;
    case 'bad-share':
      return `stopped early: ${percent(reason.measured)} late or failed, allowed ${percent(reason.limit)}`;
    case 'few-samples':
      return `only ${reason.measured} requests, a verdict needs ${reason.limit}`;
  }
}
