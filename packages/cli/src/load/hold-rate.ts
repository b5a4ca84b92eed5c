import { createClient } from './http-client.ts';
import { clientTimeoutMs } from './objectives.ts';
import { loadDefaults, planLoad, type LoadOptions } from './options.ts';
import { seededRandom } from './random.ts';
import { runStep, type StepMeasurement } from './run-step.ts';
import { scheduleStep } from './scenario.ts';
import { inFlightLimit } from './verdict.ts';

export interface HoldRateOptions extends Pick<
  LoadOptions,
  'target' | 'scenario' | 'objectives' | 'seed' | 'signal' | 'allowRemote'
> {
  readonly rateRps: number;
  readonly measuredMs: number;
  /** Of the scenario's sessions. Default 0. */
  readonly firstSession?: number;
}

/** What came of a rate. */
export interface HeldRate extends Pick<
  StepMeasurement,
  'overall' | 'operations' | 'generator' | 'recovered'
> {
  readonly rateRps: number;
  readonly offeredRps: number;
  /** Good answers within the objective of their operation. */
  readonly goodRps: number;
}

/**
 * Offers one rate for as long as was said, whatever comes of it: for looking at a system past what it holds. The model
 * is that of {@link findHeadroom}, with the same lead-in. Throws `LoadError` when it cannot start.
 */
export async function holdRate(options: HoldRateOptions): Promise<HeldRate> {
  const { scenario, objectives, rateRps, measuredMs, firstSession = 0 } = options;
  const { origin, seed, search } = planLoad({
    ...options,
    expectedPeakRps: rateRps,
    maxRps: Math.max(rateRps, loadDefaults.maxRps),
  });
  const timeoutMs = clientTimeoutMs(objectives);
  const client = createClient(origin, {
    maxConnections: loadDefaults.maxConnections,
    connectTimeoutMs: timeoutMs,
  });
  try {
    const { leadInMs } = search;
    const random = seededRandom(seed);
    const schedule = scheduleStep({ scenario, rateRps, leadInMs, measuredMs, firstSession, random });
    client.limitConnections(Math.max(loadDefaults.minConnections, inFlightLimit(rateRps, objectives)));
    const { overall, operations, generator, recovered, planned } = await runStep({
      client,
      objectives,
      rateRps,
      leadInMs,
      measuredMs,
      requests: schedule.requests,
      maxInFlight: loadDefaults.maxInFlight,
      mayStopEarly: false,
      longestDrainMs: loadDefaults.longestDrainMs,
      sample: () => Promise.resolve(undefined),
      onWatch: () => undefined,
      signal: options.signal ?? new AbortController().signal,
    });
    const perSecond = (count: number): number => (count * 1_000) / measuredMs;
    return {
      rateRps,
      offeredRps: perSecond(planned),
      goodRps: perSecond(goodOf(overall)),
      overall,
      operations,
      generator,
      recovered,
    };
  } finally {
    await client.destroy();
  }
}

/** Of what ended late, timeouts and what was never sent are errors already. */
function goodOf({ ok, late, errorKinds }: StepMeasurement['overall']): number {
  const lateErrors = (errorKinds['timeout'] ?? 0) + (errorKinds['refused'] ?? 0);
  return ok - (late - lateErrors);
}
