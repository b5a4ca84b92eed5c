import type { PoolOptions } from '../database/pool.ts';
import type { WorkerOptions } from '../durable/worker.ts';
import type { GatewayOptions } from '../gateway/gateway.ts';
import type { Route } from '../gateway/route.ts';
import type { AnyOperation } from '../modules/contract.ts';
import type { Module } from '../modules/module.ts';

/** What must hold for an operation: 95 % of requests within `p95Ms`, and at most `errorRate` of them failing. */
export interface Objective {
  readonly p95Ms: number;
  /** 0 to 1. */
  readonly errorRate: number;
}

export interface OperationObjective extends Objective {
  readonly operation: AnyOperation;
}

export interface PlanOptions {
  /** Shown in logs and in pg_stat_activity. */
  readonly name: string;
  readonly modules: readonly Module[];
  readonly http?: Pick<
    GatewayOptions,
    'host' | 'port' | 'maxBodyBytes' | 'requestTimeoutMs' | 'maxInFlight' | 'drainMs'
  > & {
    readonly routes?: readonly Route[];
  };
  readonly database?: {
    /** Default: DATABASE_URL, else the embedded PostgreSQL of `plimsoll start`. */
    readonly url?: string;
    /** Default: DATABASE_REPLICA_URLS, separated by commas. */
    readonly replicaUrls?: readonly string[];
    /** Replicas of the embedded PostgreSQL. Default 0. */
    readonly embeddedReplicas?: number;
    /** Sizes and timeouts; `max` counts for writes and for reads each. */
    readonly pool?: PoolOptions;
  };
  readonly worker?: Pick<WorkerOptions, 'concurrency' | 'pollMs' | 'drainMs' | 'backoff'>;
  /** Deadline of an operation that declares none. Default 10_000. */
  readonly timeoutMs?: number;
  /** The load to be held, against which headroom is counted. */
  readonly expectedPeak: { readonly requestsPerSecond: number };
  readonly objectives: {
    readonly default: Objective;
    readonly operations?: readonly OperationObjective[];
  };
}
