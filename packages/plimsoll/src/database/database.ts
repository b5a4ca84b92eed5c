import { assembleDatabase } from './assemble.ts';
import type { Database } from './interface.ts';
import { createPool, poolDefaults, type PoolOptions } from './pool.ts';
import type { Consistency } from './routing/consistency.ts';
import { openMonitor } from './routing/open-monitor.ts';
import { routingSettings, type RoutingOptions } from './routing/options.ts';
import { beginReadOnly } from './routing/reads.ts';
import { openSession } from './session.ts';

export type { Database, ReadOnlyOptions } from './interface.ts';

export interface DatabaseOptions {
  /** `postgres://…` of the primary. */
  readonly url: string;
  /** Replicas that `readOnly` may use. Default none: then `readOnly` reads from the primary. */
  readonly replicaUrls?: readonly string[];
  /** How current a `readOnly` is that does not say. Default `session`. */
  readonly consistency?: Consistency;
  readonly routing?: RoutingOptions;
  readonly pool?: PoolOptions;
  /**
   * Names the database in causality tokens: the same in every process, another one for each database of another
   * server that one request uses. Default the name in the URL.
   */
  readonly name?: string;
  /** Whose telemetry this is. Default the database itself. */
  readonly scope?: object;
  /** Shown in pg_stat_activity. Default `plimsoll`. */
  readonly applicationName?: string;
}

export function createDatabase(options: DatabaseOptions): Database {
  const { url, replicaUrls = [], applicationName = 'plimsoll' } = options;
  const settings = routingSettings(options.routing ?? {}, options.consistency, replicaUrls.length);
  const limits = { ...poolDefaults, ...options.pool };
  const identity = {};
  const scope = options.scope ?? identity;
  const pooled = settings.pooler !== 'none';
  const shared = { ...options.pool, scope, applicationName, pooled };
  return assembleDatabase({
    scope,
    name: options.name ?? nameIn(url),
    consistency: options.consistency,
    settings,
    primary: createPool({ ...shared, url, server: 'primary', readOnly: false }),
    // Sessions that the server keeps from writing; they open no connection before they are used.
    primaryReads: createPool({ ...shared, url, server: 'primary-reads', readOnly: true }),
    replicas: replicaUrls.map((replicaUrl, index) =>
      // Whether a replica is well is known to the router.
      createPool({
        ...shared,
        url: replicaUrl,
        server: `replica-${index + 1}`,
        readOnly: true,
        breaker: false,
      }),
    ),
    fallbackMax: limits.max,
    beginOnPrimary: pooled ? beginReadOnly(limits.statementTimeoutMs) : [],
    transactionSettings: pooled ? localSettings(limits) : [],
    monitors: {
      primary: openMonitor(url, applicationName),
      replicas: replicaUrls.map((replicaUrl) => openMonitor(replicaUrl, applicationName)),
    },
    session: () => openSession({ url, applicationName, scope }),
  });
}

/** What sessions cannot keep behind a pooler, for each transaction. */
function localSettings(limits: typeof poolDefaults): readonly string[] {
  return [
    `set local statement_timeout = ${Math.round(limits.statementTimeoutMs)}`,
    `set local idle_in_transaction_session_timeout = ${Math.round(limits.idleInTransactionTimeoutMs)}`,
  ];
}

function nameIn(url: string): string {
  const path = URL.canParse(url) ? decodeURIComponent(new URL(url).pathname.slice(1)) : '';
  return path === '' ? 'postgres' : path;
}
