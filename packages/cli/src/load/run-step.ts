import { createHistogram, performance } from 'node:perf_hooks';
import { createFlight } from './flight.ts';
import { watchGenerator } from './generator-check.ts';
import type { GeneratorUse } from './generator-check.ts';
import type { LoadClient } from './http-client.ts';
import { clientTimeoutMs, objectiveOf } from './objectives.ts';
import type { Objectives } from './objectives.ts';
import type { ResourceSample } from './resources.ts';
import type { ScheduledRequest } from './scenario.ts';
import { createTally } from './tally.ts';
import type { OperationCounts } from './tally.ts';
import { stopEarly, verdictLimits } from './verdict.ts';
import type { FailReason } from './verdict.ts';

export interface StepInput {
  readonly client: LoadClient;
  readonly objectives: Objectives;
  readonly rateRps: number;
  readonly leadInMs: number;
  readonly measuredMs: number;
  readonly requests: readonly ScheduledRequest[];
  readonly maxInFlight: number;
  /** Whether a step in which too much is late or failed ends before its time. */
  readonly mayStopEarly: boolean;
  /** After the last request of the step. */
  readonly longestDrainMs: number;
  readonly sample: () => Promise<ResourceSample | undefined>;
  /** A few times a second. */
  readonly onWatch: (now: {
    readonly draining: boolean;
    readonly p95Ms: number;
    readonly inFlight: number;
  }) => void;
  readonly signal: AbortSignal;
}

/** What happened. Of the measured requests: planned = ended + cut; ended = ok + errors; refused is one of the errors. */
export interface StepMeasurement {
  readonly planned: number;
  readonly sent: number;
  readonly refused: number;
  /** Planned, but the step was stopped before their time. */
  readonly cut: number;
  readonly leadInRequests: number;
  readonly overall: OperationCounts;
  readonly operations: Readonly<Record<string, OperationCounts>>;
  readonly sendingMs: number;
  readonly inFlightMax: number;
  readonly inFlightAtEnd: number;
  readonly drainMs: number;
  /** False when requests were still unanswered at the end of the longest drain. */
  readonly recovered: boolean;
  readonly stoppedEarly: FailReason | undefined;
  readonly aborted: boolean;
  readonly generator: GeneratorUse;
  readonly before: ResourceSample | undefined;
  readonly after: ResourceSample | undefined;
}

const tickMs = 1;
const watchEveryMs = 250;

/** Sends the plan at its times, whatever the answers do, then waits until everything has ended. */
export async function runStep(input: StepInput): Promise<StepMeasurement> {
  const { objectives, requests, leadInMs, signal } = input;
  const before = await input.sample();
  const tally = createTally(objectives);
  const sendLag = createHistogram({ lowest: 1, highest: 60_000_000, figures: 3 });
  const lagAtMs = (percentile: number): number =>
    sendLag.count === 0 ? 0 : sendLag.percentile(percentile) / 1000;
  const endGeneratorWatch = watchGenerator();
  const startMs = performance.now();
  const flight = createFlight({
    client: input.client,
    timeoutMs: clientTimeoutMs(objectives),
    maxInFlight: input.maxInFlight,
    now: () => performance.now(),
    onEnd: ({ request, measured }, ending, latencyMs) => {
      if (measured) tally.record(request.operation, ending, latencyMs);
    },
  });

  const inFlightSizes: number[] = [];
  let next = 0; // of `requests`, not yet due
  let sent = 0;
  let refused = 0;
  let nextWatchMs = startMs + watchEveryMs;
  let stoppedEarly: FailReason | undefined;

  const launchDue = (): void => {
    const elapsedMs = performance.now() - startMs;
    for (let due = requests[next]; due !== undefined && due.atMs <= elapsedMs; due = requests[next]) {
      next += 1;
      if (due.measured)
        sendLag.record(Math.max(1, Math.round((performance.now() - startMs - due.atMs) * 1000)));
      const launched = flight.launch(due, startMs + due.atMs);
      if (due.measured && launched) sent += 1;
      if (due.measured && !launched) refused += 1;
    }
  };
  const watch = (draining: boolean): void => {
    const nowMs = performance.now();
    if (nowMs < nextWatchMs) return;
    nextWatchMs = nowMs + watchEveryMs;
    const { count, bad, p95Ms } = tally.soFar();
    input.onWatch({ draining, p95Ms, inFlight: flight.size });
    if (draining) return;
    inFlightSizes.push(flight.size);
    if (!input.mayStopEarly || nowMs - startMs < leadInMs + verdictLimits.earliestStopMs) return;
    const overdue = flight.countOlderThan((operation) => objectiveOf(objectives, operation).p95Ms);
    stoppedEarly = stopEarly(
      { rateRps: input.rateRps, count, bad, overdue, inFlight: inFlightSizes },
      objectives,
    );
  };

  const endMs = startMs + leadInMs + input.measuredMs;
  await everyTick(() => {
    flight.expire();
    if (signal.aborted) return true;
    launchDue();
    watch(false);
    return stoppedEarly !== undefined || performance.now() >= endMs;
  });
  const sendingMs = performance.now() - startMs;
  const inFlightAtEnd = flight.size;
  const generator = { ...endGeneratorWatch(), sendLagP99Ms: lagAtMs(99), sendLagMaxMs: lagAtMs(100) };
  const afterSample = input.sample();

  const drainStartMs = performance.now();
  await everyTick(() => {
    flight.expire();
    watch(true);
    return flight.size === 0 || signal.aborted || performance.now() - drainStartMs >= input.longestDrainMs;
  });
  const recovered = flight.size === 0;
  const drainMs = performance.now() - drainStartMs;
  flight.giveUp();

  const measured = requests.reduce((count, request) => count + (request.measured ? 1 : 0), 0);
  return {
    planned: measured,
    sent,
    refused,
    cut: measured - sent - refused,
    leadInRequests: requests.length - measured,
    overall: tally.overall(),
    operations: tally.byOperation(),
    sendingMs,
    inFlightMax: Math.max(inFlightAtEnd, ...inFlightSizes),
    inFlightAtEnd,
    drainMs,
    recovered,
    stoppedEarly,
    aborted: signal.aborted,
    generator,
    before,
    after: await afterSample,
  };
}

/** Not `setImmediate`: spinning would take the core the target may need, to save less than a millisecond. */
function everyTick(isDone: () => boolean): Promise<void> {
  if (isDone()) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setInterval(() => {
      try {
        if (!isDone()) return;
        clearInterval(timer);
        resolve();
      } catch (cause) {
        clearInterval(timer);
        reject(cause instanceof Error ? cause : new Error('a load step failed', { cause }));
      }
    }, tickMs);
  });
}
