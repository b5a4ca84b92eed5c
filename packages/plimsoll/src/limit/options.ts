import type { Problem } from '../kernel/errors.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';

export interface LimitOptions {
  /** What is limited: a dependency or a class of routes. Shown in errors, channels and state. */
  readonly name: string;
  /** The limit never falls below this, so that there are always calls to learn from. Default 4. */
  readonly minLimit?: number;
  /** The limit never rises above this. Default 1_000. */
  readonly maxLimit?: number;
  /** The limit before anything was measured. Default 20. */
  readonly initialLimit?: number;
  /** The limit changes at most once in this time, and once in a round trip. Default 100. */
  readonly windowMs?: number;
  /** Calls that must have ended before the limit changes. Default 10. */
  readonly windowCalls?: number;
  /**
   * An answer that takes longer, in the mean, is worth little: the limit does not grow towards it, and falls where that
   * helps. What keeps limits that share one server, unknown to each other, from growing together. Default 1000.
   */
  readonly targetMs?: number;
  /** Longest time a baseline is trusted under full load before it is measured again. Default 30_000. */
  readonly renewMs?: number;
  /** Whether a failed call says that the other side has too much to do. Default: timeouts and status 503. */
  readonly isDrop?: (error: unknown) => boolean;
  /** Stands in the messages on the channels. Default the limit itself. */
  readonly scope?: object;
  /** Default the system's. */
  readonly clock?: Clock;
  /** From 0 to 1. Default `Math.random`. */
  readonly random?: () => number;
}

export const limitDefaults = {
  minLimit: 4,
  maxLimit: 1_000,
  initialLimit: 20,
  windowMs: 100,
  windowCalls: 10,
  renewMs: 30_000,
  targetMs: 1_000,
} as const;

export type LimitSettings = Required<Pick<LimitOptions, keyof typeof limitDefaults>> & {
  readonly clock: Clock;
  readonly random: () => number;
};

export function limitSettings(options: LimitOptions): LimitSettings {
  return { ...limitDefaults, clock: systemClock, random: Math.random, ...options };
}

/** What the options ask for that cannot be, all at once. */
export function limitProblems(options: LimitOptions): readonly Problem[] {
  const { minLimit, maxLimit, initialLimit, windowMs, windowCalls, renewMs, targetMs } =
    limitSettings(options);
  const problems: Problem[] = [];
  if (options.name === '') problems.push({ path: 'name', message: 'is empty; name what is limited' });
  const whole = { minLimit, maxLimit, initialLimit, windowCalls };
  for (const [path, value] of Object.entries(whole)) {
    if (!Number.isInteger(value) || value < 1)
      problems.push({ path, message: `is ${value}; give a whole number from 1` });
  }
  for (const [path, value] of Object.entries({ windowMs, renewMs, targetMs })) {
    if (!Number.isFinite(value) || value <= 0)
      problems.push({ path, message: `is ${value}; give milliseconds above 0` });
  }
  if (minLimit > maxLimit)
    problems.push({ path: 'minLimit', message: `is ${minLimit}, above maxLimit, which is ${maxLimit}` });
  if (initialLimit < minLimit || initialLimit > maxLimit) {
    const message = `is ${initialLimit}; give a number from minLimit, ${minLimit}, to maxLimit, ${maxLimit}`;
    problems.push({ path: 'initialLimit', message });
  }
  return problems;
}
