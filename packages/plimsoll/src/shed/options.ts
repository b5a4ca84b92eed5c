import type { IncomingMessage } from 'node:http';
import { systemClock, type Clock } from '../kernel/clock.ts';
import type { Problem } from '../kernel/errors.ts';
import type { LimitOptions } from '../limit/options.ts';
import type { LoopPressure } from './loop-pressure.ts';

/** Who is refused last, and who first. */
export type Priority = 'internal' | 'interactive' | 'batch';

export interface ShedOptions {
  /** Shown in channels and state. */
  readonly name: string;
  /** Requests that are neither counted nor refused. Default {@link isWatching}: health, metrics, the gateway's own. */
  readonly bypass?: (request: IncomingMessage) => boolean;
  /** Default `interactive` for all. */
  readonly priority?: (request: IncomingMessage) => Priority;
  /** Requests of one class share an adaptive limit. At most 64 classes; the rest share one. Default one for all. */
  readonly routeClass?: (request: IncomingMessage) => string;
  /** Whose request it is; undefined for nobody known. Default nobody, so all are treated alike. */
  readonly client?: (request: IncomingMessage) => string | undefined;
  /** Of the limit of each class. */
  readonly limit?: Pick<
    LimitOptions,
    'minLimit' | 'maxLimit' | 'initialLimit' | 'windowMs' | 'windowCalls' | 'renewMs' | 'targetMs'
  >;
  /**
   * From when on an answer of a class is worth little; see `targetMs` of `plimsoll/limit`, whose default it has. The
   * limit begins with `targetMs / 5` where that is more than its default and `limit` does not say.
   */
  readonly targetMs?: (routeClass: string) => number | undefined;
  /** A request that waited longer than this for a busy event loop may be refused; after 4 times as long, it is. Default 40. */
  readonly loopDelayMs?: number;
  /** Longest `Retry-After`, in seconds; the shortest is 1. Default 3. */
  readonly maxRetryAfterSeconds?: number;
  /** Stands in the messages on the channels. Default the shedder itself. */
  readonly scope?: object;
  /** Default the system's. */
  readonly clock?: Clock;
  /** From 0 to 1. Default `Math.random`. */
  readonly random?: () => number;
  /** Default that of the process's event loop. */
  readonly loop?: LoopPressure;
}

export const shedDefaults = {
  loopDelayMs: 40,
  maxRetryAfterSeconds: 3,
} as const;

export type ShedSettings = Required<Pick<ShedOptions, keyof typeof shedDefaults | 'bypass' | 'limit'>> & {
  readonly clock: Clock;
  readonly random: () => number;
};

export function shedSettings(options: ShedOptions): ShedSettings {
  const given = { clock: systemClock, random: Math.random, bypass: isWatching, limit: {} };
  return { ...shedDefaults, ...given, ...options };
}

/** What the options ask for that cannot be, all at once. Those of the limit are the limit's. */
export function shedProblems(options: ShedOptions): readonly Problem[] {
  const { loopDelayMs, maxRetryAfterSeconds } = shedSettings(options);
  const problems: Problem[] = [];
  if (options.name === '') problems.push({ path: 'name', message: 'is empty; name what is protected' });
  if (!Number.isFinite(loopDelayMs) || loopDelayMs <= 0)
    problems.push({ path: 'loopDelayMs', message: `is ${loopDelayMs}; give milliseconds above 0` });
  if (!Number.isInteger(maxRetryAfterSeconds) || maxRetryAfterSeconds < 2) {
    const message = `is ${maxRetryAfterSeconds}; give whole seconds from 2, so that clients do not all come back at once`;
    problems.push({ path: 'maxRetryAfterSeconds', message });
  }
  return problems;
}

const watched: ReadonlySet<string> = new Set(['/health', '/healthz', '/livez', '/readyz', '/metrics']);

/** Whether a request watches the process: health, metrics, and what the gateway has under `/-/` but for jobs. */
export function isWatching({ url = '' }: IncomingMessage): boolean {
  // Cheap for all others: none of these is longer.
  if (url.startsWith('/-/')) return !url.startsWith('/-/jobs');
  const query = url.indexOf('?');
  return watched.has(query === -1 ? url : url.slice(0, query));
}
