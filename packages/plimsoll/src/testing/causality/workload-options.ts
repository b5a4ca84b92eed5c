import type { Clock } from '../../kernel/clock.ts';
import type { Problem } from '../../kernel/errors.ts';
import type { CausalityChecker } from './checker.ts';
import type { CausalSystem } from './system.ts';

/** How many sessions of each kind there are at a time. */
export interface SessionCounts {
  /** Ask again at once. */
  readonly fast: number;
  /** Pause for `thinkMs` between requests. */
  readonly slow: number;
  /** Go away for `awayMs` after a few requests: what they know is old when they come back. */
  readonly returning: number;
  /** Have two requests under way at a time. Only with `merge`. */
  readonly tabs: number;
}

export interface WorkloadOptions {
  /** Decides what each session does; when, is up to the machine. Default a random one. */
  readonly seed?: number;
  /** Ends it; without one it runs for `operations`. */
  readonly signal?: AbortSignal;
  /** Reads and writes after which it ends. Default 10_000, or no end with a `signal`. */
  readonly operations?: number;
  /** `k0`, `k1`, and so on. Default 50. */
  readonly keys?: number;
  /** Part of the operations that are reads. Default 0.9. */
  readonly readShare?: number;
  readonly sessions?: Partial<SessionCounts>;
  /** Between requests of slow sessions, on average. Default 100. */
  readonly thinkMs?: number;
  /** How long returning sessions are away: at least half of it, at most one and a half. Default 3_000. */
  readonly awayMs?: number;
  /** Requests after which a session ends, on average, and one that knows nothing takes its place. Default 200. */
  readonly sessionOperations?: number;
  /** How often a session hands its token over after an operation. Default 0.01. */
  readonly handOverShare?: number;
  /** Default a new one. */
  readonly checker?: CausalityChecker;
  readonly clock?: Clock;
}

export const workloadDefaults = {
  operations: 10_000,
  keys: 50,
  readShare: 0.9,
  sessions: { fast: 4, slow: 8, returning: 8, tabs: 2 },
  thinkMs: 100,
  awayMs: 3_000,
  sessionOperations: 200,
  handOverShare: 0.01,
} as const;

export type WorkloadSettings = Required<Omit<WorkloadOptions, 'signal' | 'sessions'>> & {
  readonly sessions: SessionCounts;
  readonly signal: AbortSignal | undefined;
};

/** What the options ask for that cannot be, all at once. */
export function workloadProblems(settings: WorkloadSettings, system: CausalSystem): readonly Problem[] {
  const problems: Problem[] = [];
  const { keys, readShare, handOverShare, sessions, thinkMs, awayMs, sessionOperations, operations } =
    settings;
  if (!(Number.isInteger(keys) && keys > 0))
    problems.push({ path: 'keys', message: `is ${keys}; give a whole number from 1` });
  for (const [path, value] of Object.entries({ readShare, handOverShare }))
    if (!(value >= 0 && value <= 1))
      problems.push({ path, message: `is ${value}; give a number from 0 to 1` });
  for (const [path, value] of Object.entries({ thinkMs, awayMs }))
    if (!(value >= 0)) problems.push({ path, message: `is ${value}; give milliseconds from 0` });
  for (const [path, value] of Object.entries({ sessionOperations, operations }))
    if (!(value >= 1)) problems.push({ path, message: `is ${value}; give a number from 1` });
  for (const [kind, count] of Object.entries(sessions) as [keyof SessionCounts, number][])
    if (!Object.hasOwn(workloadDefaults.sessions, kind) || !(Number.isInteger(count) && count >= 0))
      problems.push({
        path: `sessions.${kind}`,
        message: `is ${count}; there are fast, slow, returning and tabs, each a whole number from 0`,
      });
  const none = Object.values(sessions).every((count) => count === 0);
  const onlyTabs = system.merge === undefined && sessions.fast + sessions.slow + sessions.returning === 0;
  if (none || onlyTabs)
    problems.push({ path: 'sessions', message: 'are none; tabs need a system with `merge`' });
  return problems;
}
