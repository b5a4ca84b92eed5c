import pg from 'pg';
import { assembleDatabase } from '../database/assemble.ts';
import type { Database } from '../database/database.ts';
import type { Consistency } from '../database/routing/consistency.ts';
import { monitorOf } from '../database/routing/open-monitor.ts';
import { routingSettings, type RoutingOptions } from '../database/routing/options.ts';
import { adoptPool } from './adopted-pool.ts';
import { openSessionLike } from './adopted-session.ts';

export interface FromPoolOptions {
  /** Pools of hot standbys that `readOnly` may use. Default none: then it reads from the primary. */
  readonly replicas?: readonly pg.Pool[];
  /** How current a `readOnly` is that does not say. Default `session`. */
  readonly consistency?: Consistency;
  readonly routing?: RoutingOptions;
  /** Names the database in causality tokens. Default the name of the database that the pool connects to. */
  readonly name?: string;
  /** Whose telemetry this is. Default the database itself. */
  readonly scope?: object;
}

/** Connections of your pool that reads leave to the rest when no replica can serve them. */
const leftForWrites = 2;

/**
 * Your pool as a `Database`, for everything of ours that asks for one. `readOnly` on the primary runs each
 * statement in a read-only transaction of its own, because the sessions are yours and not set to read only.
 * `close` leaves your pools open.
 */
export function fromPool(pool: pg.Pool, options: FromPoolOptions = {}): Database {
  const identity = {};
  const scope = options.scope ?? identity;
  const { replicas = [], consistency } = options;
  const primary = adoptPool(pool, 'primary', scope);
  return assembleDatabase({
    scope,
    name: options.name ?? new pg.Client(pool.options).database ?? 'postgres',
    consistency,
    // A pooler may stand before a pool of yours: what it tells of its server is asked with each read.
    settings: routingSettings({ pooler: 'one-to-one', ...options.routing }, consistency, replicas.length),
    primary,
    primaryReads: primary,
    replicas: replicas.map((replica, index) => adoptPool(replica, `replica-${index + 1}`, scope)),
    fallbackMax: pool.options.max - leftForWrites,
    beginOnPrimary: ['begin read only'],
    transactionSettings: [],
    monitors: { primary: monitorLike(pool), replicas: replicas.map(monitorLike) },
    session: () => openSessionLike(pool, scope),
  });
}

/** Connections outside the pool with its options, made by its own `Client` where it has one. */
function monitorLike(pool: pg.Pool): ReturnType<typeof monitorOf> {
  const Client = (pool.options.Client as typeof pg.Client | undefined) ?? pg.Client;
  return monitorOf(() => new Client(pool.options));
}
