import { generatorFaults } from './generator-check.ts';
import type { GeneratorUse } from './generator-check.ts';
import { whatMovedFirst } from './moved-first.ts';
import type { MovedFirst } from './moved-first.ts';
import { tightestP95Ms } from './objectives.ts';
import type { Objectives } from './objectives.ts';
import type { ResourceUse } from './resources.ts';
import { resourceUse } from './resources.ts';
import type { StepMeasurement } from './run-step.ts';
import type { Conclusion, Outcome, Purpose } from './search.ts';
import { judgeStep } from './verdict.ts';
import type { FailReason } from './verdict.ts';

/** One step as it went. Counts are of the measured part: planned = sent + refused + cut. */
export interface StepReport extends Omit<StepMeasurement, 'before' | 'after' | 'stoppedEarly' | 'aborted'> {
  readonly purpose: Purpose;
  /** The rate that was asked for. */
  readonly rateRps: number;
  /** Planned and sent requests over the measured time, as it came out of the scenario's sessions. */
  readonly offeredRps: number;
  readonly sentRps: number;
  /** Good answers. */
  readonly completedRps: number;
  readonly leadInMs: number;
  readonly measuredMs: number;
  readonly verdict: {
    readonly ok: boolean;
    readonly reasons: readonly FailReason[];
    /** Not empty in a failing step: the failure is not the server's. */
    readonly generatorFaults: readonly string[];
  };
  readonly resources: ResourceUse;
}

/** Plain JSON. */
export interface LoadReport {
  readonly outcome: Outcome;
  /** What the outcome means, and what to do when it is not an answer. */
  readonly explanation: string;
  readonly heldRps: number;
  /** Whether `heldRps` passed a second, usually longer step of its own. */
  readonly confirmed: boolean;
  readonly expectedPeakRps: number;
  /** heldRps / expectedPeakRps. */
  readonly headroom: number;
  /** Highest rate that held; lowest that failed, null when none did. */
  readonly interval: { readonly lowerRps: number; readonly upperRps: number | null };
  readonly scenario: string;
  readonly target: string;
  readonly objectives: Objectives;
  readonly steps: readonly StepReport[];
  readonly whatMovedFirst: MovedFirst;
  /** `ok`: no failure was the generator's. `use`: in the step that carries the answer, null without one. */
  readonly generator: { readonly ok: boolean; readonly use: GeneratorUse | null };
  /** What a reader should know besides: steps that did not recover, noise, missing samples. */
  readonly findings: readonly string[];
  readonly settings: {
    readonly budgetMs: number;
    readonly stepMs: number;
    readonly maxRps: number;
    readonly clientTimeoutMs: number;
    readonly maxConnections: number;
    readonly maxInFlight: number;
  };
  readonly startedAt: string;
  readonly durationMs: number;
  readonly seed: number;
}

export function reportStep(
  measurement: StepMeasurement,
  step: {
    readonly purpose: Purpose;
    readonly rateRps: number;
    readonly leadInMs: number;
    readonly measuredMs: number;
    readonly objectives: Objectives;
  },
): StepReport {
  const { before, after, stoppedEarly, aborted: _aborted, ...measured } = measurement;
  const { purpose, rateRps, leadInMs, objectives } = step;
  // An early stop ends the measured time too.
  const measuredMs = Math.min(step.measuredMs, measurement.sendingMs - leadInMs);
  const perSecond = (count: number): number => (measuredMs > 0 ? (count * 1000) / measuredMs : 0);
  const reasons = judgeStep({ ...measured, rateRps, stoppedEarly }, objectives);
  const faults = generatorFaults(measurement.generator, reasons, tightestP95Ms(objectives));
  return {
    purpose,
    rateRps,
    ...measured,
    leadInMs,
    measuredMs,
    offeredRps: perSecond(measurement.planned - measurement.cut),
    sentRps: perSecond(measurement.sent),
    completedRps: perSecond(measurement.overall.ok),
    verdict: { ok: reasons.length === 0, reasons, generatorFaults: faults },
    resources: resourceUse(before, after, measurement.generator),
  };
}

export interface ReportInput extends Pick<
  LoadReport,
  'expectedPeakRps' | 'scenario' | 'target' | 'objectives' | 'settings' | 'startedAt' | 'durationMs' | 'seed'
> {
  readonly conclusion: Conclusion;
  readonly steps: readonly StepReport[];
  readonly failedSamples: number;
}

export function buildReport(input: ReportInput): LoadReport {
  const { conclusion, steps, failedSamples, ...given } = input;
  const { outcome, heldRps, confirmed } = conclusion;
  const ofServer = steps.filter((step) => step.verdict.generatorFaults.length === 0);
  return {
    outcome,
    explanation: explain(conclusion, input),
    heldRps,
    confirmed,
    headroom: heldRps / input.expectedPeakRps,
    interval: { lowerRps: heldRps, upperRps: conclusion.upperRps ?? null },
    ...given,
    steps,
    whatMovedFirst: whatMovedFirst(ofServer.map((step) => ({ ...step, ok: step.verdict.ok }))),
    generator: {
      ok: ofServer.length === steps.length,
      use: answerStep({ steps, heldRps })?.generator ?? null,
    },
    findings: findings(steps, failedSamples),
  };
}

function explain(conclusion: Conclusion, { settings, expectedPeakRps, steps }: ReportInput): string {
  const { outcome, heldRps, upperRps } = conclusion;
  const longer = `Run again with a longer budget than ${settings.budgetMs / 1000} s, on a quieter machine if there is one.`;
  switch (outcome) {
    case 'found':
      return conclusion.confirmed
        ? 'The held rate passed a confirmation step.'
        : `Not confirmed: the time was up. ${longer}`;
    case 'at-least':
      return heldRps >= settings.maxRps
        ? `Still holding at the highest allowed rate, ${settings.maxRps} req/s: the real headroom is more.`
        : `Still holding when the time was up: the real headroom may be more. ${longer}`;
    case 'below-peak':
      return heldRps > 0
        ? `The expected peak of ${expectedPeakRps} req/s does not hold.`
        : `The expected peak of ${expectedPeakRps} req/s does not hold, and no lower rate was found to hold in the time (lowest tried ${upperRps ?? expectedPeakRps} req/s).`;
    case 'inconclusive-generator': {
      const faults =
        steps.findLast((step) => step.verdict.generatorFaults.length > 0)?.verdict.generatorFaults ?? [];
      const held = heldRps > 0 ? `The system held ${heldRps} req/s; above` : 'Above';
      return `${held} that the load generator was too slow itself (${faults.join('; ')}). Stop other work on this machine, or run the generator on another one.`;
    }
    case 'inconclusive-noisy':
      return `The same rate passed and failed, or there was no time to repeat a failure. ${longer}`;
    case 'aborted':
      return 'Stopped before the end; the numbers are of the steps that were finished.';
  }
}

/**
 * The step that carries the answer: the last pass at the held rate, which is its confirmation when there
 * was one; without a held rate, the last failure at the lowest rate.
 */
export function answerStep({
  steps,
  heldRps,
}: Pick<LoadReport, 'steps' | 'heldRps'>): StepReport | undefined {
  const lowestRps = Math.min(...steps.map((step) => step.rateRps));
  return heldRps > 0
    ? steps.findLast((step) => step.rateRps === heldRps && step.verdict.ok)
    : steps.findLast((step) => step.rateRps === lowestRps && !step.verdict.ok);
}

function findings(steps: readonly StepReport[], failedSamples: number): string[] {
  const found: string[] = [];
  const list = (chosen: readonly StepReport[]): string =>
    [...new Set(chosen.map((step) => step.rateRps))].join(', ');
  const stuck = steps.filter((step) => !step.recovered);
  if (stuck.length > 0) {
    found.push(
      `did not recover within 5 s after the load of ${list(stuck)} req/s ended: requests were still unanswered`,
    );
  }
  const silent = steps.filter((step) => step.overall.count > 0 && step.overall.ok === 0);
  if (silent.length > 0) {
    const kinds = [...new Set(silent.flatMap((step) => Object.keys(step.overall.errorKinds)))].join(', ');
    found.push(
      `not one good answer at ${list(silent)} req/s (${kinds}): see whether the target is still running`,
    );
  }
  const disagreeing = steps.filter(
    (step) => !step.verdict.ok && steps.some((other) => other.rateRps === step.rateRps && other.verdict.ok),
  );
  if (disagreeing.length > 0)
    found.push(`passed once and failed once at ${list(disagreeing)} req/s: a pause or a neighbour`);
  const lagging = steps.filter((step) => step.verdict.generatorFaults.length > 0);
  if (lagging.length > 0)
    found.push(`the generator was behind its own schedule in failing steps at ${list(lagging)} req/s`);
  if (failedSamples > 0)
    found.push(`${failedSamples} resource samples failed or took over 2 s; what moved first is less certain`);
  return found;
}
