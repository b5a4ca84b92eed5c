import { LoadError } from './load-error.ts';
import type { Objective, Objectives } from './objectives.ts';
import type { Progress } from './progress.ts';
import { seededRandom } from './random.ts';
import type { ResourceSample } from './resources.ts';
import { surveySessions } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import { lowestRate } from './search.ts';
import type { SearchConfig } from './search.ts';
import { clientTimeoutMs } from './objectives.ts';
import { verdictLimits } from './verdict.ts';

export interface LoadOptions {
  /** Such as `http://127.0.0.1:3000`; paths come from the scenario. */
  readonly target: string;
  readonly scenario: Scenario;
  readonly objectives: Objectives;
  readonly expectedPeakRps: number;
  /** Budget of the whole run; only the last drain (at most 5 s) may come on top. */
  readonly durationMs?: number;
  /** Never offered more than this. */
  readonly maxRps?: number;
  readonly seed?: number;
  readonly sample?: () => Promise<ResourceSample>;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
  /** Load on another machine is somebody's outage: only when this is set. */
  readonly allowRemote?: boolean;
}

export const loadDefaults = {
  durationMs: 60_000,
  maxRps: 10_000,
  /**
   * Keep-alive connections at most; further requests wait in the generator, and their wait counts. A step
   * uses no more than a holding system can have in flight (`inFlightLimit`), and at least `minConnections`:
   * a flood of new connections overflows the listen queue of an overloaded server (511 in Node), and what
   * is measured then is the kernel's retransmission after 1 s.
   */
  maxConnections: 1_000,
  minConnections: 50,
  /** Requests in flight at most; further ones are refused and count as errors. */
  maxInFlight: 5_000,
  /** The bound in flight for low rates: what arrives in this time. */
  inFlightSeconds: 10,
  /** A lead-in is as long as the longest session, up to this. */
  longestLeadInMs: 2_000,
  /** Wait for answers after a step; what is still unanswered then ends as a timeout. */
  longestDrainMs: 5_000,
} as const;

export interface LoadPlan {
  readonly origin: string;
  readonly seed: number;
  readonly warmUpMs: number;
  readonly search: SearchConfig;
}

/** Checks everything at once and chooses the lengths of steps from the budget. */
export function planLoad(options: LoadOptions): LoadPlan {
  const problems: string[] = [];
  const origin = checkTarget(options, problems);
  const positive = (name: string, value: number): void => {
    if (!(Number.isFinite(value) && value > 0)) problems.push(`${name} is ${value}; it must be more than 0`);
  };
  const { expectedPeakRps, durationMs = loadDefaults.durationMs, maxRps = loadDefaults.maxRps } = options;
  positive('expectedPeakRps', expectedPeakRps);
  positive('maxRps', maxRps);
  if (maxRps < expectedPeakRps) {
    problems.push(`maxRps ${maxRps} is below expectedPeakRps ${expectedPeakRps}; raise maxRps`);
  }
  if (!(durationMs >= 5_000)) problems.push(`durationMs is ${durationMs}; a search needs at least 5000`);
  checkObjective('default', options.objectives.default, problems);
  for (const [operation, objective] of Object.entries(options.objectives.byOperation)) {
    checkObjective(operation, objective, problems);
  }
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31);
  const leadInMs = checkScenario(options.scenario, seed, problems);

  // About 15 steps make a search: 3 to 6 s each for budgets of 45 to 90 s.
  const stepMs = Math.min(6_000, durationMs / 15);
  const search: SearchConfig = {
    expectedPeakRps,
    maxRps,
    budgetMs: durationMs,
    stepMs,
    longestStepMs: Math.max(stepMs, Math.min(30_000, durationMs / 4)),
    leadInMs,
    drainReserveMs: Math.min(loadDefaults.longestDrainMs, clientTimeoutMs(options.objectives)),
    // A little more than a verdict needs: the ends of sessions fall off at the end of a step.
    minSamples: verdictLimits.samples + 20,
  };
  if (maxRps < lowestRate(search)) {
    const neededMs = Math.ceil((4_000 * search.minSamples) / maxRps);
    problems.push(
      `maxRps ${maxRps} gives fewer than ${verdictLimits.samples} requests a step in durationMs ${durationMs}; use durationMs ${neededMs} or a higher maxRps`,
    );
  }
  if (problems.length > 0) {
    throw new LoadError('PL_LOAD_OPTIONS', `The load run cannot start:\n- ${problems.join('\n- ')}`);
  }
  return { origin, seed, warmUpMs: Math.min(4_000, stepMs), search };
}

function checkTarget({ target, allowRemote }: LoadOptions, problems: string[]): string {
  const url = URL.parse(target);
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    problems.push(`target is ${JSON.stringify(target)}; it must be a URL such as http://127.0.0.1:3000`);
    return '';
  }
  if (!isLoopback(url.hostname) && allowRemote !== true) {
    throw new LoadError(
      'PL_LOAD_REMOTE',
      `Refusing to load ${url.origin}: it is not this machine, and the search drives its target until it fails. ` +
        'Allowed are localhost, 127.0.0.0/8 and [::1]. If the system is yours and nobody else depends on it, set allowRemote.',
    );
  }
  return url.origin;
}

function isLoopback(hostname: string): boolean {
  return /^(?:localhost|.+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/u.test(hostname);
}

function checkObjective(name: string, { p95Ms, errorRate }: Objective, problems: string[]): void {
  if (!(p95Ms > 0 && p95Ms <= loadDefaults.longestDrainMs)) {
    problems.push(
      `objective ${name}: p95Ms is ${p95Ms}; it must be more than 0 and at most ${loadDefaults.longestDrainMs}, the longest wait after a step`,
    );
  }
  if (!(errorRate >= 0 && errorRate < 1)) {
    problems.push(`objective ${name}: errorRate is ${errorRate}; it is a share, from 0 to below 1`);
  }
}

/** Returns the lead-in the sessions need. */
function checkScenario(scenario: Scenario, seed: number, problems: string[]): number {
  const { gaps, requestsPerSession, name } = scenario;
  if (gaps !== undefined && !(gaps.every((gap) => gap >= 0) && gaps.some((gap) => gap > 0))) {
    problems.push(
      `scenario ${name}: gaps must be 0 or more, and not all 0 (or leave them out for Poisson arrivals)`,
    );
  }
  const { meanRequests, longestMs } = surveySessions(scenario, seededRandom(seed));
  if (!(Math.abs(requestsPerSession - meanRequests) <= 0.2 * meanRequests)) {
    problems.push(
      `scenario ${name}: requestsPerSession is ${requestsPerSession}, but 500 sessions have ${meanRequests.toFixed(2)} on average; set it to that, or rates mean something else than they say`,
    );
  }
  return Math.min(loadDefaults.longestLeadInMs, longestMs);
}
