import type { PoolOptions } from '../database/pool.ts';
import type { Consistency } from '../database/routing/consistency.ts';
import type { RoutingOptions } from '../database/routing/options.ts';
import type { InvalidationBus } from '../cache/bus.ts';
import type { ProcessTierOptions } from '../cache/options.ts';
import type { SharedStore } from '../cache/shared-store.ts';
import type { Purger } from '../http-cache/purger.ts';
import type { WorkerOptions } from '../durable/worker.ts';
import type { EventBudget } from '../outbox/pressure.ts';
import type { ViewBuilderOptions } from '../views/builder.ts';
import type { ViewReadsOptions } from '../views/reads.ts';
import type { GatewayOptions } from '../gateway/options.ts';
import type { SessionOptions } from '../gateway/session-store.ts';
import type { Route } from '../gateway/route.ts';
import type { AnyOperation } from '../modules/contract.ts';
import type { CommandRecordOptions } from '../modules/command-record.ts';
import type { Module } from '../modules/module.ts';
import type { CachedQuery } from '../modules/query-cache.ts';
import type { ModulePolicy, ModulePolicyOverride } from '../modules/module-policies.ts';
import type { SpanOptions } from '../telemetry/spans.ts';

/** A policy or an HTTP client that modules were given, as far as an app looks at it. */
export interface Outgoing {
  readonly name: string;
  readonly scope: object;
  state(): { readonly name: string };
}

/** What must hold for an operation: 95 % of requests within `p95Ms`, and at most `errorRate` of them failing. */
export interface Objective {
  readonly p95Ms: number;
  /** 0 to 1. */
  readonly errorRate: number;
}

export interface OperationObjective extends Objective {
  readonly operation: AnyOperation;
}

export interface CachePlan {
  /** `cached(catalog.product, { ttlMs: 60_000 })`. */
  readonly queries: readonly CachedQuery[];
  /** What each process keeps; `false` keeps nothing in it. */
  readonly process?: ProcessTierOptions | false;
  /**
   * What the processes share: a table of the database, which is not written to its log; a store such as
   * `redisCacheStore`; or nothing. Default `database`.
   */
  readonly shared?: 'database' | SharedStore | false;
  /**
   * By what a process hears of the invalidations of the others. `false` only where there are no others, `processes`
   * being `one`, or with `process: false`. Default `database`.
   */
  readonly bus?: 'database' | InvalidationBus | false;
  /** Default `several`: two of one plan run during each deploy. */
  readonly processes?: 'one' | 'several';
  /**
   * Caches outside, which keep answers of routes with `cache`: each is purged of what commands invalidate. Give all
   * processes the same. Default none.
   */
  readonly purgers?: readonly Purger[];
  /** Compares one of so many hits with what its handler says now. 0: none. Default 0. */
  readonly sampleEvery?: number;
  /**
   * What happens when a command writes a table that a cached query reads, and invalidates none of its tags:
   * PL_MISSED_INVALIDATION, or a message in the background channel. Default `refuse`, in production `report`.
   */
  readonly missed?: 'refuse' | 'report';
}

export interface PlanOptions {
  /** How long, and of what size, the answers of commands under a key are kept. */
  readonly idempotency?: CommandRecordOptions;
  /** Shown in logs and in pg_stat_activity. */
  readonly name: string;
  readonly modules: readonly Module[];
  readonly http?: Pick<
    GatewayOptions,
    | 'host'
    | 'port'
    | 'maxBodyBytes'
    | 'requestTimeoutMs'
    | 'maxInFlight'
    | 'drainMs'
    | 'answerTimeoutMs'
    | 'maxHeaders'
    | 'cors'
    | 'trustProxy'
    | 'authenticate'
    | 'openapi'
    | 'shed'
    | 'rateLimit'
    | 'seen'
  > & {
    readonly routes?: readonly Route[];
    /** Sessions in the database, for routes with `session`. Default none. */
    readonly sessions?: SessionOptions;
  };
  readonly database?: {
    /**
     * Default: the `databaseUrl` that `createApp` is given; it does not read DATABASE_URL. The `plimsoll` command
     * does, where this is not set, and else starts the embedded PostgreSQL.
     */
    readonly url?: string;
    /** Default: those `createApp` is given, else none; `plimsoll` takes DATABASE_REPLICA_URLS, separated by commas. */
    readonly replicaUrls?: readonly string[];
    /** Replicas of the embedded PostgreSQL. Default 0. */
    readonly embeddedReplicas?: number;
    /** Sizes and timeouts; `max` counts for writes and for reads each. */
    readonly pool?: PoolOptions;
    /** How current queries are. Default `session`: each client sees what it has written and read. */
    readonly consistency?: Consistency;
    /** Of reads to replicas. */
    readonly routing?: RoutingOptions;
  };
  /** What guards the calls to each part, so that one that fails stays one that fails. */
  readonly policies?: {
    /**
     * Calls from one module into another: each module has a policy of its own. `false`: none. Default: queries are
     * made again once, a breaker that counts what is unavailable or late, at most 200 calls at once.
     */
    readonly modules?: ModulePolicy | false;
    /** Modules whose policy differs: `policyFor(payments, { bulkhead: { max: 20 } })`. */
    readonly overrides?: readonly ModulePolicyOverride[];
    /**
     * The policies and HTTP clients that the modules were given for what they call outside. Listed here, their
     * refusals, retries and breakers are told by the app's telemetry and log, and their state by `/-/telemetry`.
     */
    readonly outgoing?: readonly Outgoing[];
  };
  /** Which queries are cached, and where. Default none. */
  readonly cache?: CachePlan;
  /** How long events are kept, and how far they may be behind. */
  readonly events?: {
    /**
     * How long events are kept at least, in milliseconds; then they go by whole partitions, when every view and every
     * replay has read them. Default for ever.
     */
    readonly retainMs?: number;
    /** How long a partition of the log should last, which is how much longer events may be kept. Default 7 days. */
    readonly partitionMs?: number;
    /**
     * Beyond it, commands of outside requests that emit what is behind are refused with 503; what events and jobs set
     * off goes on. Default none.
     */
    readonly budget?: EventBudget;
  };
  readonly worker?: Pick<WorkerOptions, 'concurrency' | 'pollMs' | 'drainMs' | 'backoff'>;
  /** How views are filled, and how long a reader waits for what it has written: `waitMs`, default 500. */
  readonly views?: Pick<
    ViewBuilderOptions,
    'pollMs' | 'batch' | 'targetMs' | 'concurrency' | 'restShare' | 'statementTimeoutMs' | 'switches'
  > &
    Pick<ViewReadsOptions, 'waitMs'>;
  readonly boundaries?: {
    /** Where `plimsoll check boundaries` finds one folder per module, from the plan's folder. Default `modules`. */
    readonly modulesDir?: string;
    /**
     * What happens to a handler's statement that touches a table its module does not own: PL_FOREIGN_TABLE,
     * a message in the background channel, or nothing. Default `refuse`, in production `report`.
     */
    readonly statements?: 'refuse' | 'report' | 'off';
    /**
     * Whether handlers run as a PostgreSQL role of their module, which may use only what the module owns. The start
     * makes the roles, and throws PL_CONFIG with the statements to run where the database user may not. Default false.
     */
    readonly roles?: boolean;
  };
  /** Which traces are kept; OTEL_EXPORTER_OTLP_ENDPOINT says where they are sent. */
  readonly telemetry?: SpanOptions;
  /** Deadline of an operation that declares none. Default 10_000. */
  readonly timeoutMs?: number;
  /** The load to be held, against which headroom is counted. */
  readonly expectedPeak: { readonly requestsPerSecond: number };
  readonly objectives: {
    readonly default: Objective;
    readonly operations?: readonly OperationObjective[];
  };
}
