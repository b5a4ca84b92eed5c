import { createBulkhead, type Bulkhead } from '../../bulkhead/bulkhead.ts';
import type { Clock } from '../../kernel/clock.ts';
import type { Pool } from '../pool.ts';
import type { Causality } from './causality.ts';
import type { RouteShares } from './counts.ts';
import type { OpenMonitor } from './monitor.ts';
import type { RoutingSettings } from './options.ts';
import type { Routing } from './reads.ts';
import type { OutReason } from './replica-state.ts';
import { Router } from './router.ts';
import { Watch } from './watch.ts';

export interface ReplicaReport {
  /** `replica-1` is the first of `replicaUrls`. */
  readonly server: string;
  /** Why it serves nobody; undefined while it serves. */
  readonly out: OutReason | undefined;
  readonly lagMs: number;
  readonly lagBytes: number;
}

/** What routing does, for people and health pages: plain JSON. */
export interface RoutingState extends RouteShares {
  /** Polls of servers since the start, those on demand included. */
  readonly polls: number;
  readonly replicas: readonly ReplicaReport[];
  /** The history that the primary writes, as in tokens; undefined until it was asked. */
  readonly epoch: string | undefined;
  /** Whether a promotion would be recognised by a row of the new primary; without it by its timeline only. */
  readonly epochRow: boolean;
  /** Why positions cannot be had from this primary, when it only speaks the protocol of PostgreSQL. */
  readonly unsupported: string | undefined;
  /** Whether the server that answers as primary is one that was replaced. */
  readonly fenced: boolean;
  /** Reads under way on the primary because no replica can serve them, and those that wait for a place there. */
  readonly fallbacks: { readonly inUse: number; readonly waiting: number };
  readonly canary: CanaryState;
}

export interface CanaryState {
  readonly beats: number;
  /** Reads that did not show the heartbeat written just before. */
  readonly violations: number;
  readonly failures: number;
}

export interface CreateRoutingOptions {
  readonly scope: object;
  readonly causality: Causality;
  readonly settings: RoutingSettings;
  readonly clock: Clock;
  readonly random?: () => number;
  readonly primaryMax: number;
  readonly replicas: readonly Pool[];
  readonly monitors: { readonly primary: OpenMonitor; readonly replicas: readonly OpenMonitor[] };
}

export interface RoutingParts extends Routing {
  readonly places: Bulkhead;
}

export function createRouting(options: CreateRoutingOptions): RoutingParts {
  const { scope, causality, settings, clock, monitors, replicas, random = Math.random } = options;
  const watch = new Watch({ causality, settings, scope, clock, ...monitors });
  causality.onCommit = (sentAtMs, flushed) => watch.noteCommit(sentAtMs, flushed);
  const places = createBulkhead({
    name: 'reads on the primary',
    scope,
    clock,
    max: Math.max(1, Math.min(settings.fallbackMax, options.primaryMax)),
    maxWaiting: settings.fallbackWaiting,
    maxWaitMs: settings.fallbackWaitMs,
  });
  const router = new Router({ scope, causality, watch, places, settings, clock, random });
  return { router, watch, replicas, places, told: toldBehind[settings.pooler] };
}

const toldBehind = { none: 'once', 'one-to-one': 'each', opaque: 'nothing' } as const;

export function routingState(
  causality: Causality,
  routing: RoutingParts | undefined,
  canary: CanaryState,
): RoutingState {
  const { router, watch, places, replicas = [] } = routing ?? {};
  const fallbacks = places?.state();
  return {
    ...(router?.counts.toJSON() ?? noReads),
    polls: watch?.polls ?? 0,
    replicas: (watch?.states ?? []).map(({ out, lagMs, lagBytes }, index) => ({
      server: replicas[index]?.server ?? '',
      out,
      lagMs,
      lagBytes,
    })),
    epoch: causality.epoch?.text,
    epochRow: causality.epoch?.rowId !== undefined,
    unsupported: causality.unsupported,
    fenced: causality.fenced,
    fallbacks: { inUse: fallbacks?.active ?? 0, waiting: fallbacks?.waiting ?? 0 },
    canary,
  };
}

const noReads: RouteShares = { reads: 0, offload: 0, fallback: 0, refused: 0, waited: 0, primaryReasons: {} };
