import { inspect } from 'node:util';
import type { Clock } from '../kernel/clock.ts';
import type { Problem } from '../kernel/errors.ts';
import type { FailureKind } from '../kernel/failure-kind.ts';

export interface BreakerOptions {
  /** What is called; shown in errors, channels and state. */
  readonly name: string;
  /** Counts the calls that ended in this time. Default 10_000. */
  readonly windowMs?: number;
  /** Counts the last calls instead, however long ago they were. Default: `windowMs` holds. */
  readonly windowCalls?: number;
  /**
   * With fewer calls in the window neither ratio opens. Infinity: never. Default 20, or `windowCalls` where that is
   * less.
   */
  readonly minimumCalls?: number;
  /** Opens when this part of the calls failed, or more. From above 0 to 1. Default 0.5. */
  readonly failureRatio?: number;
  /** A call that took this long or longer is slow, and a slow probe has failed. Default Infinity: none is. */
  readonly slowCallMs?: number;
  /** Opens when this part of the calls was slow, or more. From above 0 to 1. Default 0.5. */
  readonly slowRatio?: number;
  /** Opens when so many failed one after another, however few they are. Default Infinity: never. */
  readonly consecutiveFailures?: number;
  /** How long the first break is; it doubles each time. Of every break, half is fixed and half random. Default 1000. */
  readonly breakMs?: number;
  /** The longest break. Default 10_000, or `breakMs` where that is more. */
  readonly maxBreakMs?: number;
  /** How many calls are let through after a break. Default 1. */
  readonly probes?: number;
  /** How many of the probes must succeed. Default: all. */
  readonly probeSuccesses?: number;
  /** A probe that has not ended after this long counts as failed. Default 10_000. */
  readonly probeMaxMs?: number;
  /** After closing, 10 %, 25 %, then 50 % of the calls are admitted, each for a third of this time. 0: all. Default 3000. */
  readonly rampMs?: number;
  /** What an error says of what was called; only `failure` counts. Default {@link failureKind}. */
  readonly classify?: (error: unknown) => FailureKind;
  /** The app that messages on the channels belong to. Default: the breaker. */
  readonly scope?: object;
  readonly clock?: Clock;
  /** From 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
}

/** Times in milliseconds. */
export const breakerDefaults = {
  windowMs: 10_000,
  minimumCalls: 20,
  failureRatio: 0.5,
  slowCallMs: Infinity,
  slowRatio: 0.5,
  consecutiveFailures: Infinity,
  breakMs: 1_000,
  maxBreakMs: 10_000,
  probes: 1,
  probeMaxMs: 10_000,
  rampMs: 3_000,
} as const satisfies Partial<BreakerOptions>;

/** The limits of a breaker, each of them known. */
export type BreakerLimits = {
  readonly [option in keyof typeof breakerDefaults | 'probeSuccesses']: number;
} & { readonly windowCalls: number | undefined };

export function breakerLimits(given: BreakerOptions): BreakerLimits {
  const { windowCalls, breakMs = breakerDefaults.breakMs, probes = breakerDefaults.probes } = given;
  return {
    windowMs: given.windowMs ?? breakerDefaults.windowMs,
    windowCalls,
    minimumCalls: given.minimumCalls ?? Math.min(breakerDefaults.minimumCalls, windowCalls ?? Infinity),
    failureRatio: given.failureRatio ?? breakerDefaults.failureRatio,
    slowCallMs: given.slowCallMs ?? breakerDefaults.slowCallMs,
    slowRatio: given.slowRatio ?? breakerDefaults.slowRatio,
    consecutiveFailures: given.consecutiveFailures ?? breakerDefaults.consecutiveFailures,
    breakMs,
    maxBreakMs: given.maxBreakMs ?? Math.max(breakerDefaults.maxBreakMs, breakMs),
    probes,
    probeSuccesses: given.probeSuccesses ?? probes,
    probeMaxMs: given.probeMaxMs ?? breakerDefaults.probeMaxMs,
    rampMs: given.rampMs ?? breakerDefaults.rampMs,
  };
}

/** A ring of a megabyte. */
const mostCalls = 2 ** 20;

export function breakerProblems(given: BreakerOptions): Problem[] {
  const problems: Problem[] = [];
  const limits = breakerLimits(given);
  function check(path: keyof BreakerOptions, holds: boolean, allowed: string): void {
    // A default is as good as what it is taken from.
    if (!holds && (given[path] !== undefined || path === 'name'))
      problems.push({ path, message: `is ${inspect(given[path])}; give ${allowed}` });
  }
  const isTime = (ms: number): boolean => ms > 0 && Number.isFinite(ms);
  const isCount = (count: number): boolean => Number.isSafeInteger(count) && count >= 1;
  const isRatio = (ratio: number): boolean => ratio > 0 && ratio <= 1;
  const { windowCalls, minimumCalls, breakMs, probes } = limits;

  check('name', typeof given.name === 'string' && given.name !== '', 'a name for what is called');
  check('windowMs', isTime(limits.windowMs), 'milliseconds above 0');
  if (windowCalls !== undefined) {
    check(
      'windowCalls',
      isCount(windowCalls) && windowCalls <= mostCalls,
      `a whole number from 1 to ${mostCalls}`,
    );
    if (given.windowMs !== undefined)
      problems.push({
        path: 'windowCalls',
        message: 'is given beside windowMs; a window is of calls or of time',
      });
    if (minimumCalls !== Infinity)
      check(
        'minimumCalls',
        !(minimumCalls > windowCalls),
        `at most windowCalls, ${windowCalls}, or it never opens`,
      );
  }
  check(
    'minimumCalls',
    isCount(minimumCalls) || minimumCalls === Infinity,
    'a whole number from 1, or Infinity',
  );
  check('failureRatio', isRatio(limits.failureRatio), 'a number above 0 and up to 1');
  check('slowCallMs', limits.slowCallMs > 0, 'milliseconds above 0, or Infinity');
  check('slowRatio', isRatio(limits.slowRatio), 'a number above 0 and up to 1');
  const { consecutiveFailures } = limits;
  check(
    'consecutiveFailures',
    isCount(consecutiveFailures) || consecutiveFailures === Infinity,
    'a whole number from 1, or Infinity',
  );
  check('breakMs', isTime(breakMs), 'milliseconds above 0');
  check(
    'maxBreakMs',
    isTime(limits.maxBreakMs) && !(limits.maxBreakMs < breakMs),
    `milliseconds from breakMs, ${breakMs}`,
  );
  check('probes', isCount(probes), 'a whole number from 1');
  check(
    'probeSuccesses',
    isCount(limits.probeSuccesses) && !(limits.probeSuccesses > probes),
    `a whole number from 1 to probes, ${probes}`,
  );
  check('probeMaxMs', isTime(limits.probeMaxMs), 'milliseconds above 0');
  check('rampMs', limits.rampMs === 0 || isTime(limits.rampMs), 'milliseconds, or 0 for no ramp');
  return problems;
}
