import { PlimsollError, throwIfProblems, type Problem } from '../../kernel/errors.ts';
import { consistencies, needsPosition, type Consistency } from './consistency.ts';

/**
 * What stands between this process and the servers. `one-to-one`: PgBouncer in transaction mode or the like, each URL
 * one server. `opaque`: one URL of `replicaUrls` may be any of several servers, as behind a reader endpoint.
 */
export type Pooler = 'none' | 'one-to-one' | 'opaque';

export interface RoutingOptions {
  /** Default `none`. */
  readonly pooler?: Pooler;
  /** How long after a write its client reads the primary at the level `window`. Default 2000. */
  readonly windowMs?: number;
  /** A replica further behind than this in time serves nobody. Default 1000. */
  readonly lagBudgetMs?: number;
  /** A replica further behind than this in bytes of log serves nobody. Default 16 MiB. */
  readonly lagBudgetBytes?: number;
  /** How often each server is asked for its position while there are reads. Default 100. */
  readonly pollMs?: number;
  /** The same after a second without reads. Default 1000. */
  readonly idlePollMs?: number;
  /** A server that has not answered by then has failed that poll; two in a row put a replica out. Default 150. */
  readonly pollTimeoutMs?: number;
  /** How long a read may wait for a replica to reach what its reader has seen, before the primary serves it. Default 25. */
  readonly waitMs?: number;
  /** After it was put out, a replica gets its full share of reads within this time. Default 10000. */
  readonly slowStartMs?: number;
  /** Reads that may run on the primary at once because no replica can serve them. Default 8, and at most `pool.max`. */
  readonly fallbackMax?: number;
  /** Reads that may wait for one of these places; more are refused with PL_BULKHEAD_FULL. Default 100. */
  readonly fallbackWaiting?: number;
  /** How long one may wait for such a place. Default 1000. */
  readonly fallbackWaitMs?: number;
  /** Writes a heartbeat this often and reads it back at once; 0 is off. Default 0. */
  readonly canaryMs?: number;
}

export type RoutingSettings = Required<RoutingOptions>;

export const routingDefaults: RoutingSettings = {
  pooler: 'none',
  windowMs: 2_000,
  lagBudgetMs: 1_000,
  lagBudgetBytes: 16_777_216,
  pollMs: 100,
  idlePollMs: 1_000,
  pollTimeoutMs: 150,
  waitMs: 25,
  slowStartMs: 10_000,
  fallbackMax: 8,
  fallbackWaiting: 100,
  fallbackWaitMs: 1_000,
  canaryMs: 0,
};

const poolers: readonly Pooler[] = ['none', 'one-to-one', 'opaque'];

const whyNotOpaque =
  'behind an opaque pooler nobody knows which server answers, so no position that was asked for belongs to the one that serves the read; give the URL of each replica (pooler one-to-one or none), or ask for window, eventual or strong';

/** What every problem of these options is, named as they are written. */
export function routingProblems(
  options: RoutingOptions,
  consistency: Consistency | undefined,
  replicas: number,
): Problem[] {
  const problems: Problem[] = [];
  for (const [name, value] of Object.entries(options) as [keyof RoutingOptions, unknown][]) {
    if (!Object.hasOwn(routingDefaults, name))
      problems.push({
        path: `routing.${name}`,
        message: `there is no such option; there are ${Object.keys(routingDefaults).join(', ')}`,
      });
    else if (name === 'pooler') {
      if (!poolers.includes(value as Pooler))
        problems.push({
          path: 'routing.pooler',
          message: `${JSON.stringify(value)} is none of ${poolers.join(', ')}`,
        });
    } else if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
      problems.push({ path: `routing.${name}`, message: `${String(value)} must be a number from 0` });
  }
  if (consistency !== undefined && !consistencies.includes(consistency))
    problems.push({
      path: 'consistency',
      message: `${JSON.stringify(consistency)} is none of ${consistencies.join(', ')}`,
    });
  if (options.pooler === 'opaque' && replicas > 0 && needsPosition(consistency ?? 'session'))
    problems.push({
      path: 'consistency',
      message: `${consistency ?? 'session (the default)'}: ${whyNotOpaque}`,
    });
  if (options.pooler === 'opaque' && (options.canaryMs ?? 0) > 0)
    problems.push({ path: 'routing.canaryMs', message: `a canary reads what it wrote: ${whyNotOpaque}` });
  if ((options.fallbackMax ?? 1) < 1)
    problems.push({ path: 'routing.fallbackMax', message: 'must be at least 1: else nothing falls back' });
  return problems;
}

/** PL_CONFIG for a read that asks for what its pooler makes impossible. */
export function assertPossible(level: Consistency, pooler: Pooler): void {
  if (!consistencies.includes(level))
    throw new PlimsollError(
      'PL_CONFIG',
      `readOnly: consistency ${JSON.stringify(level)} is none of ${consistencies.join(', ')}`,
    );
  if (pooler === 'opaque' && needsPosition(level))
    throw new PlimsollError('PL_CONFIG', `readOnly: consistency ${level}: ${whyNotOpaque}`);
}

export function routingSettings(
  options: RoutingOptions,
  consistency: Consistency | undefined,
  replicas: number,
): RoutingSettings {
  throwIfProblems('the database', routingProblems(options, consistency, replicas));
  return { ...routingDefaults, ...options };
}
