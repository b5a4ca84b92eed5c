import { performance } from 'node:perf_hooks';
import { createClient } from './http-client.ts';
import type { LoadClient } from './http-client.ts';
import { clientTimeoutMs } from './objectives.ts';
import { loadDefaults, planLoad } from './options.ts';
import type { LoadOptions, LoadPlan } from './options.ts';
import { preflight } from './preflight.ts';
import { seededRandom } from './random.ts';
import { buildReport, reportStep } from './report.ts';
import type { LoadReport, StepReport } from './report.ts';
import type { ResourceSample } from './resources.ts';
import { runStep } from './run-step.ts';
import type { StepMeasurement } from './run-step.ts';
import { scheduleStep } from './scenario.ts';
import { conclude, firstRate, nextAction } from './search.ts';
import type { Attempt } from './search.ts';
import { inFlightLimit } from './verdict.ts';

/**
 * Measures how much of the scenario the target holds within its objectives. Throws `LoadError` when the
 * run cannot start; every other end, an abort included, is a report.
 */
export async function findHeadroom(options: LoadOptions): Promise<LoadReport> {
  const plan = planLoad(options);
  const signal = options.signal ?? new AbortController().signal;
  const client = createClient(plan.origin, {
    maxConnections: loadDefaults.maxConnections,
    connectTimeoutMs: clientTimeoutMs(options.objectives),
  });
  try {
    return await search(options, plan, client, signal);
  } finally {
    await client.destroy();
  }
}

async function search(
  options: LoadOptions,
  plan: LoadPlan,
  client: LoadClient,
  signal: AbortSignal,
): Promise<LoadReport> {
  const { scenario, objectives, onProgress } = options;
  const { search: config } = plan;
  const random = seededRandom(plan.seed);
  const startedAt = new Date().toISOString();
  const startMs = performance.now();
  const elapsedMs = (): number => performance.now() - startMs;
  const sampler = createSampler(options.sample);
  const steps: StepReport[] = [];
  const attempts: Attempt[] = [];

  let nextSession = await preflight(plan.origin, scenario, {
    random,
    timeoutMs: clientTimeoutMs(objectives),
    signal,
  });

  const run = async (
    phase: 'warm-up' | 'measure',
    rateRps: number,
    measuredMs: number,
  ): Promise<StepMeasurement> => {
    const leadInMs = phase === 'measure' ? config.leadInMs : 0;
    const schedule = scheduleStep({
      scenario,
      rateRps,
      leadInMs,
      measuredMs,
      firstSession: nextSession,
      random,
    });
    nextSession = schedule.nextSession;
    client.limitConnections(Math.max(loadDefaults.minConnections, inFlightLimit(rateRps, objectives)));
    const inFlightForRate = Math.ceil(rateRps * loadDefaults.inFlightSeconds);
    return runStep({
      client,
      objectives,
      rateRps,
      leadInMs,
      measuredMs,
      requests: schedule.requests,
      maxInFlight: Math.min(loadDefaults.maxInFlight, inFlightForRate),
      mayStopEarly: true,
      longestDrainMs: loadDefaults.longestDrainMs,
      sample: sampler.sample,
      signal,
      onWatch: ({ draining, p95Ms, inFlight }) =>
        onProgress?.({
          phase: draining ? 'drain' : phase,
          rateRps,
          p95Ms,
          inFlight,
          elapsedMs: elapsedMs(),
          budgetMs: config.budgetMs,
          verdicts: steps.map((step) => ({ rateRps: step.rateRps, ok: step.verdict.ok })),
        }),
    });
  };

  if (!signal.aborted) await run('warm-up', firstRate(config), plan.warmUpMs);
  let action = nextAction(config, attempts, elapsedMs());
  while (action.kind === 'step' && !signal.aborted) {
    const { purpose, rateRps, measuredMs } = action;
    const measurement = await run('measure', rateRps, measuredMs);
    if (measurement.aborted) break; // half a step is no evidence
    const step = reportStep(measurement, {
      purpose,
      rateRps,
      leadInMs: config.leadInMs,
      measuredMs,
      objectives,
    });
    steps.push(step);
    attempts.push({ rateRps, purpose, result: resultOf(step) });
    action = nextAction(config, attempts, elapsedMs());
  }

  const conclusion = conclude(config, attempts);
  return buildReport({
    conclusion: signal.aborted ? { ...conclusion, outcome: 'aborted' } : conclusion,
    steps,
    failedSamples: sampler.failures(),
    expectedPeakRps: options.expectedPeakRps,
    scenario: scenario.name,
    target: plan.origin,
    objectives,
    settings: {
      budgetMs: config.budgetMs,
      stepMs: config.stepMs,
      maxRps: config.maxRps,
      clientTimeoutMs: clientTimeoutMs(objectives),
      maxConnections: loadDefaults.maxConnections,
      maxInFlight: loadDefaults.maxInFlight,
    },
    startedAt,
    durationMs: elapsedMs(),
    seed: plan.seed,
  });
}

function resultOf({ verdict }: StepReport): Attempt['result'] {
  if (verdict.ok) return 'pass';
  const tooFew = verdict.reasons.some((reason) => reason.kind === 'few-samples');
  return tooFew || verdict.generatorFaults.length > 0 ? 'generator' : 'fail';
}

/** A sample that fails or hangs must not fail the step it describes. */
function createSampler(sample: LoadOptions['sample']): {
  readonly sample: () => Promise<ResourceSample | undefined>;
  readonly failures: () => number;
} {
  const longestMs = 2_000;
  let failures = 0;
  return {
    failures: () => failures,
    async sample(): Promise<ResourceSample | undefined> {
      if (sample === undefined) return undefined;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => reject(new Error('late sample')), longestMs);
      });
      try {
        return await Promise.race([sample(), late]);
      } catch {
        failures += 1;
        return undefined;
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
