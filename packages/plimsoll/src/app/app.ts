import { createDatabase, type Database } from '../database/database.ts';
import { migrate, type MigrationReport } from '../database/migrate.ts';
import { createWorker, type Worker } from '../durable/worker.ts';
import type { CacheState } from '../cache/cache.ts';
import type { Loop } from '../durable/loop.ts';
import { createGateway, type Gateway } from '../gateway/gateway.ts';
import { countsInDatabase } from '../gateway/route-limits.ts';
import { createSessionStore } from '../gateway/session-store.ts';
import { createCron } from '../jobs/cron.ts';
import { jobStatus } from '../jobs/receipt.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { Seen } from '../kernel/seen.ts';
import { createLifecycle, extendLifecycle, type Lifecycle } from '../kernel/lifecycle.ts';
import type { MissedInvalidation } from '../modules/invalidation-check.ts';
import { createModulePolicies, type ModulePolicies } from '../modules/module-policies.ts';
import { createRegistry } from '../modules/registry.ts';
import { createRuntime, type Runtime } from '../modules/runtime.ts';
import type { PolicyState } from '../policy/policy.ts';
import { eventLag, type EventLag } from '../outbox/lag.ts';
import { createEventPressure, type EventPressure } from '../outbox/pressure.ts';
import { createRelay } from '../outbox/relay.ts';
import { countSagas, type SagaCounts } from '../saga/read.ts';
import { createEventFollower } from '../saga/wait-events.ts';
import type { ShedderState } from '../shed/shedder.ts';
import { createTelemetry, type Telemetry, type TelemetrySnapshot } from '../telemetry/telemetry.ts';
import { otlpFromEnvironment } from '../telemetry/otlp-environment.ts';
import type { Metric } from '../telemetry/metrics.ts';
import { prometheusText } from '../telemetry/prometheus.ts';
import type { SlowRequest, Span } from '../telemetry/span.ts';
import { logChannels, type Logger } from '../telemetry/logs.ts';
import {
  countStatements,
  type OperationStatements,
  type StatementCounter,
} from '../telemetry/statement-counts.ts';
import { createAcceptance } from './accept-job.ts';
import { openAppCache, type AppCache } from './app-cache.ts';
import { guardedDatabase } from './guarded-database.ts';
import { currentGauges } from './current-gauges.ts';
import { countTasks, type TaskCounts } from './task-counts.ts';
import { openAppViews, type AppViews } from './app-views.ts';
import { migrationsOf } from './migrations.ts';
import { assertOwnedTables } from './owned-tables.ts';
import { limitsOf } from './job-limits.ts';
import type { Plan } from './plan.ts';
import type { ViewReadsState } from '../views/reads.ts';
import type { ViewStatus } from '../views/status.ts';
import { shedOf } from './shed-of-plan.ts';
import { openRateLimitDatabase, type RateLimitDatabase } from './rate-limit-database.ts';

export interface AppOptions {
  /** Instead of the plan's `database.url`, which holds when this is undefined. DATABASE_URL is not read. */
  readonly databaseUrl?: string | undefined;
  /** Instead of the plan's `database.replicaUrls`, which hold when this is undefined. */
  readonly replicaUrls?: readonly string[] | undefined;
  /** Default: no log. */
  readonly logger?: Logger;
  /** Whether a call inside an open transaction throws. Default: unless NODE_ENV is `production`. */
  readonly strictCalls?: boolean;
  /** Whether calls between modules go through JSON, as between processes. Default: unless NODE_ENV is `production`. */
  readonly jsonCalls?: boolean;
  /** Whether to answer HTTP. Default true. */
  readonly listen?: boolean;
}

/** What `/-/telemetry` answers. */
export interface AppTelemetry extends TelemetrySnapshot {
  readonly pools: ReturnType<Database['pools']>;
  readonly http: { readonly inFlight: number; readonly shed?: ShedderState };
  /** The guards of the calls into each module that was called, and of what the plan lists as outgoing. */
  readonly policies: { readonly modules: readonly PolicyState[]; readonly outgoing: readonly object[] };
  /** Durable work by state; `outbox` is events that have no position yet. */
  readonly tasks: TaskCounts;
  /** How far the outbox, the subscriptions and the readers of the log are behind. */
  readonly events: EventLag;
  /** Sagas that have not ended, by state; undefined where no module has one. */
  readonly sagas?: SagaCounts;
  /** What is kept of queries; undefined where the plan caches none. */
  readonly cache?: CacheState & { readonly missed: readonly MissedInvalidation[] };
  /** How far views are behind, and how often readers waited for them; undefined where no module has one. */
  readonly views?: ViewReadsState & { readonly tables: readonly ViewStatus[] };
  /** How often each statement ran within one execution of each operation. */
  readonly statementsPerOperation: readonly OperationStatements[];
}

/** One plan, running in this process. A value: two of them in one process do not touch each other. */
export interface App extends Lifecycle {
  /** Calls an operation as an outside caller would, in the current request context or a new one. */
  readonly call: Runtime['call'];
  /** Where it answers HTTP. */
  readonly url: string;
  readonly database: Database;
  /** What the start applied. */
  readonly migrations: MigrationReport;
  telemetry(lastMs?: number): Promise<AppTelemetry>;
  /** What `/-/metrics` answers: the text format of Prometheus. */
  metrics(): Promise<string>;
  /** The newest sampled spans, oldest first. */
  spans(): readonly Span[];
  /** The newest slow requests, oldest first, sampled or not. */
  slowRequests(): readonly SlowRequest[];
  taskCounts(): Promise<TaskCounts>;
  /** The tables of the views of its modules, and how far each is behind the log. */
  views(): Promise<readonly ViewStatus[]>;
}

/** What exists between start and stop. */
interface Running {
  database: Database;
  migrations: MigrationReport;
  runtime: Runtime;
  policies: ModulePolicies;
  telemetry: Telemetry;
  statements: StatementCounter;
  cache: AppCache;
  rateLimits: RateLimitDatabase;
  pressure: EventPressure;
  relay: Loop;
  views: AppViews;
  worker: Worker;
  cron: Loop;
  sagaEvents: Loop;
  gateway: Gateway;
  stopLogs: () => void;
}

export function createApp(plan: Plan, options: AppOptions = {}): App {
  const registry = createRegistry(plan.modules);
  // Set by start, piece by piece so that a start that fails half-way stops what it had begun; emptied by stop.
  let pieces: Partial<Running> = {};

  function need<Key extends keyof Running>(key: Key): Running[Key] {
    const piece = pieces[key];
    if (piece === undefined)
      throw new PlimsollError('PL_LIFECYCLE', `the app ${plan.name} is not running; start it first`);
    return piece;
  }

  async function start(): Promise<void> {
    const url = options.databaseUrl ?? plan.database?.url;
    if (url === undefined) {
      throw new PlimsollError(
        'PL_CONFIG',
        `the app ${plan.name} has no database: give databaseUrl, database.url in the plan, or start it with \`plimsoll start\`, which brings one`,
      );
    }
    const scope = {};
    const { outgoing = [] } = plan.policies ?? {};
    const otlp = otlpFromEnvironment(process.env, plan.name);
    const telemetry = createTelemetry(scope, {
      ...plan.telemetry,
      ...(otlp === undefined ? {} : { otlp }),
      gauges,
      parts: outgoing.map((part) => part.scope),
    });
    const statements = countStatements(scope);
    const stopLogs =
      options.logger === undefined
        ? (): void => undefined
        : logChannels(
            scope,
            options.logger,
            outgoing.map((part) => part.scope),
          );
    pieces = { telemetry, statements, stopLogs };

    const replicaUrls = options.replicaUrls ?? plan.database?.replicaUrls ?? [];
    const database = createDatabase({
      url,
      replicaUrls,
      scope,
      applicationName: plan.name,
      ...(plan.database?.pool === undefined ? {} : { pool: plan.database.pool }),
      ...(plan.database?.consistency === undefined ? {} : { consistency: plan.database.consistency }),
      ...(plan.database?.routing === undefined ? {} : { routing: plan.database.routing }),
    });
    pieces.database = database;
    pieces.migrations = await migrate(database, migrationsOf(plan));
    await assertOwnedTables(database, plan.modules);

    if (plan.cache !== undefined) {
      pieces.cache = openAppCache(plan, plan.cache, { url, database, scope });
      await pieces.cache.start();
    }
    const { cache } = pieces;

    const { budget, ...kept } = plan.events ?? {};
    if (budget !== undefined) {
      pieces.pressure = createEventPressure({ database, budget });
      await pieces.pressure.start();
    }
    const { pressure } = pieces;

    const views = openAppViews(plan, { database, scope, wakeRelay: () => relay.wake() });
    if (views !== undefined) {
      pieces.views = views;
      // Its tables are there before roles are granted what they may use.
      await views.builder.start();
    }

    const policies = createModulePolicies({ scope, ...plan.policies });
    pieces.policies = policies;
    const runtime = createRuntime({
      registry,
      policies,
      database: await guardedDatabase(plan, database, cache?.check),
      ...(cache === undefined
        ? {}
        : {
            caches: cache.queries,
            invalidations: { cache: cache.cache.name, relay: cache.relay, check: cache.check },
          }),
      ...(views === undefined ? {} : { viewReads: views.reads }),
      strictCalls: options.strictCalls ?? process.env['NODE_ENV'] !== 'production',
      jsonCalls: options.jsonCalls ?? process.env['NODE_ENV'] !== 'production',
      ...(plan.idempotency === undefined ? {} : { idempotency: plan.idempotency }),
      ...(plan.timeoutMs === undefined ? {} : { timeoutMs: plan.timeoutMs }),
      ...(pressure === undefined ? {} : { assertRoom: pressure.assertRoom }),
      ...(plan.worker?.backoff === undefined ? {} : { sagaBackoff: plan.worker.backoff }),
      onCommitted(pending) {
        if (pending.relay) relay.wake();
        if (pending.worker) worker.announce();
      },
      reserve: (name) => worker.reserve(name),
    });
    const worker = createWorker({
      database,
      handlers: runtime.taskHandlers,
      limits: limitsOf(registry.operations.values()),
      ...plan.worker,
    });
    const relay = createRelay({
      database,
      subscriptions: runtime.subscriptionRecords,
      modules: plan.modules.map((module) => module.name),
      ...kept,
      onMoved: () => {
        worker.announce();
        pieces.sagaEvents?.wake();
        views?.moved();
      },
    });
    if (registry.sagas.size > 0) {
      const sagaEvents = createEventFollower({ database, onWoken: worker.announce });
      pieces.sagaEvents = sagaEvents;
      await sagaEvents.start();
    }
    pieces.runtime = runtime;
    pieces.relay = relay;
    await relay.start();
    pieces.worker = worker;
    await worker.start();
    pieces.cron = createCron({
      database,
      owner: plan.name,
      schedules: plan.modules.flatMap(({ schedules }) => schedules),
      announce: worker.announce,
    });
    await pieces.cron.start();

    if (options.listen === false) return;
    const { sessions, ...http } = plan.http;
    if (countsInDatabase(http)) pieces.rateLimits = openRateLimitDatabase(url, plan.name, scope);
    const gateway = createGateway({
      ...http,
      ...(http.shed === false ? {} : { shed: { ...shedOf(plan), ...http.shed } }),
      ...(sessions === undefined
        ? {}
        : { sessions: createSessionStore(sessionStatements(database), sessions) }),
      ...(pieces.rateLimits === undefined ? {} : { rateLimitDatabase: pieces.rateLimits.store }),
      openapi: { title: plan.name, ...http.openapi },
      scope,
      call: runtime.call,
      settle: (seen) => database.settle(seen),
      enqueue: createAcceptance(database, worker.announce, plan.idempotency),
      jobStatus: (jobId) => jobStatus(database, jobId),
      ready: () => database.ping(),
      telemetry: (lastMs) => snapshot(lastMs),
      metrics,
    });
    pieces.gateway = gateway;
    await gateway.start();
  }

  /** First no new requests, then no new tasks; what is under way ends. */
  async function drain(): Promise<void> {
    await pieces.gateway?.drain();
    await pieces.cron?.drain();
    await pieces.worker?.drain();
  }

  async function stop(): Promise<void> {
    const { gateway, worker, cron, sagaEvents, relay, pressure, views, cache, rateLimits } = pieces;
    const { database, telemetry, statements, stopLogs } = pieces;
    pieces = {};
    const endings = [
      () => gateway?.stop(),
      () => cron?.stop(),
      () => worker?.stop(),
      () => sagaEvents?.stop(),
      () => relay?.stop(),
      () => pressure?.stop(),
      () => views?.builder.stop(),
      () => cache?.stop(),
      () => rateLimits?.close(),
      () => database?.close(),
      () => telemetry?.stop(),
      () => statements?.stop(),
      () => stopLogs?.(),
    ];
    // One piece that cannot stop must not leave the others running.
    const failures: unknown[] = [];
    for (const end of endings) {
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0)
      throw new PlimsollError(
        'PL_LIFECYCLE',
        `the app ${plan.name} did not stop cleanly: ${failures.map(String).join('; ')}`,
        {
          cause: failures[0],
        },
      );
  }

  async function gauges(): Promise<readonly Metric[]> {
    const { database, gateway, views } = pieces;
    if (database === undefined) return [];
    const hasSagas = registry.sagas.size > 0;
    return currentGauges({ database, inFlight: gateway?.inFlight ?? 0, hasSagas, views });
  }

  async function metrics(): Promise<string> {
    return prometheusText(await need('telemetry').metrics());
  }

  async function snapshot(lastMs: number): Promise<AppTelemetry> {
    const { gateway, cache, views } = pieces;
    const shed = gateway?.shed();
    return {
      ...need('telemetry').snapshot(lastMs),
      pools: need('database').pools(),
      http: { inFlight: gateway?.inFlight ?? 0, ...(shed === undefined ? {} : { shed }) },
      policies: {
        modules: need('policies')
          .all()
          .map((policy) => policy.state()),
        outgoing: (plan.policies?.outgoing ?? []).map((part) => part.state()),
      },
      tasks: await countTasks(need('database')),
      events: await eventLag(need('database')),
      ...(registry.sagas.size === 0 ? {} : { sagas: await countSagas(need('database')) }),
      ...(cache === undefined ? {} : { cache: { ...cache.cache.state(), missed: cache.check.found } }),
      ...(views === undefined ? {} : { views: { ...views.reads.state(), tables: await views.list() } }),
      statementsPerOperation: need('statements').snapshot(),
    };
  }

  const own: Omit<App, keyof Lifecycle> = {
    call: (operation, input) => need('runtime').call(operation, input),
    get url(): string {
      return need('gateway').url;
    },
    get database(): Database {
      return need('database');
    },
    get migrations(): MigrationReport {
      return need('migrations');
    },
    telemetry: (lastMs = 10_000) => snapshot(lastMs),
    metrics,
    spans: () => need('telemetry').spans(),
    slowRequests: () => need('telemetry').slowRequests(),
    taskCounts: () => countTasks(need('database')),
    views: async () => (await pieces.views?.list()) ?? [],
  };
  return extendLifecycle(createLifecycle({ name: `app ${plan.name}`, start, drain, stop }), own);
}

/**
 * Who is logged in is asked of the primary, and is nothing that the client has seen: noted as such, each of its
 * requests would have to be read there, too.
 */
function sessionStatements(database: Database): Pick<Database, 'maybeOne' | 'execute'> {
  return {
    maybeOne: (statement) =>
      database.readOnly((db) => db.maybeOne(statement), { consistency: 'strong', seen: new Seen() }),
    execute: (statement) => database.execute(statement),
  };
}
