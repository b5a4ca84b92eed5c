import pg from 'pg';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { background, poolWaits } from '../kernel/channels.ts';
import { assertAlive, currentContext, endOf, type RequestContext } from '../kernel/context.ts';
import { contextWatch } from '../kernel/context-watch.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { translateFailure } from './failures.ts';
import {
  connectionsPerModule,
  createPoolGuard,
  type PoolBreaker,
  type PoolGuard,
  type PoolGuardState,
} from './pool-guard.ts';
import { parsers } from './parsers.ts';

export interface PoolOptions {
  /** Connections this process may hold to one server, for writes and for reads each. Default 10. */
  readonly max?: number;
  /** How long a call may wait for a connection before PL_POOL_TIMEOUT. Default 5000. */
  readonly acquireTimeoutMs?: number;
  /** `statement_timeout` of every connection. Default 15000. */
  readonly statementTimeoutMs?: number;
  /** `idle_in_transaction_session_timeout`: ends a transaction whose process hangs. Default 30000. */
  readonly idleInTransactionTimeoutMs?: number;
  /** Idle connections are closed after this. Default 30000. */
  readonly idleTimeoutMs?: number;
  /** Connections that one module of an app may hold, so that one whose statements hang leaves some to the others. Default three quarters of `max` from four on. */
  readonly maxPerModule?: number;
  /** Refuses at once, with PL_BREAKER_OPEN, while the server gives no connections. `false`: none. */
  readonly breaker?: PoolBreaker | false;
}

export const poolDefaults: Required<Omit<PoolOptions, 'maxPerModule' | 'breaker'>> = {
  max: 10,
  acquireTimeoutMs: 5_000,
  statementTimeoutMs: 15_000,
  idleInTransactionTimeoutMs: 30_000,
  idleTimeoutMs: 30_000,
};

export interface PoolState {
  readonly inUse: number;
  readonly open: number;
  readonly waiting: number;
  readonly max: number;
  /** What guards it; undefined for a pool that is not ours. */
  readonly guard?: PoolGuardState;
}

export interface Pool {
  readonly server: string;
  /** Whether its connections keep prepared statements: they are ours, and lead to the server. Default false. */
  readonly prepares?: boolean;
  acquire(): Promise<pg.PoolClient>;
  state(): PoolState;
  close(): Promise<void>;
}

export interface CreatePoolOptions extends PoolOptions {
  readonly url: string;
  /** Name in messages and metrics: `primary`, `replica-1`. */
  readonly server: string;
  readonly scope: object;
  readonly applicationName: string;
  /** Sessions start with `default_transaction_read_only`, so a write by mistake is refused by the server. */
  readonly readOnly: boolean;
  /** Whether a pooler is between, which passes no settings of sessions on. Default false. */
  readonly pooled?: boolean;
  readonly clock?: Clock;
}

/** Into the URL, because there `pg` looks first: options that the URL already has would win over a setting. */
function readOnlyUrl(url: string): string {
  if (!URL.canParse(url)) return url;
  const parsed = new URL(url);
  const given = parsed.searchParams.get('options');
  const readOnly = '-c default_transaction_read_only=on';
  parsed.searchParams.set('options', given === null ? readOnly : `${given} ${readOnly}`);
  return parsed.href;
}

export function createPool(options: CreatePoolOptions): Pool {
  const settings = { ...poolDefaults, ...options };
  const { server, scope } = options;
  const behindPooler = options.pooled ?? false;
  const pool = new pg.Pool({
    connectionString: options.readOnly && !behindPooler ? readOnlyUrl(options.url) : options.url,
    max: settings.max,
    // The wait for a slot and the connect share this bound.
    connectionTimeoutMillis: settings.acquireTimeoutMs,
    idleTimeoutMillis: settings.idleTimeoutMs,
    ...(behindPooler
      ? {}
      : {
          statement_timeout: settings.statementTimeoutMs,
          idle_in_transaction_session_timeout: settings.idleInTransactionTimeoutMs,
        }),
    application_name: options.applicationName,
    keepAlive: true,
    types: parsers,
  });
  // A terminated idle backend reports here; without a listener the process would die. The pool replaces it.
  pool.on('error', (error) => background.publish({ scope, what: `idle connection to ${server}`, error }));
  // A checked-out client reports to its own listener, which pg removes and adds around the checkout.
  pool.on('connect', (client) => client.on('error', () => undefined));
  const { max, maxPerModule = connectionsPerModule(max), acquireTimeoutMs, breaker = {} } = settings;
  const { clock = systemClock } = options;
  const guard = createPoolGuard({
    server,
    max,
    maxPerModule,
    acquireTimeoutMs,
    breaker,
    scope,
    clock,
  });
  return {
    ...pooled(pool, { server, scope, max, remedy: 'raise pool.max', guard, clock }),
    prepares: !behindPooler,
    close: () => pool.end(),
  };
}

/** What we do with a pool of `pg`, whoever made it: waits are told, bounded by the context, and explained. */
export function pooled(
  pool: pg.Pool,
  options: {
    readonly server: string;
    readonly scope: object;
    readonly max: number;
    /** What to do when there are too few connections. */
    readonly remedy: string;
    readonly guard?: PoolGuard;
    readonly clock?: Clock | undefined;
  },
): Omit<Pool, 'close'> {
  const { server, scope, max, remedy, guard, clock = systemClock } = options;

  const state = (): PoolState => ({
    inUse: pool.totalCount - pool.idleCount,
    open: pool.totalCount,
    waiting: pool.waitingCount,
    max,
    ...(guard === undefined ? {} : { guard: guard.state() }),
  });

  async function acquire(): Promise<pg.PoolClient> {
    const context = currentContext();
    if (context !== undefined) assertAlive(context, `connection to ${server}`, clock);
    const startedMs = clock.monotonicMs();
    let failure: unknown;
    const connect = async (): Promise<pg.PoolClient> => {
      // An idle connection is there at the next turn.
      const waits = context !== undefined && (pool.idleCount === 0 || pool.waitingCount > 0);
      try {
        return await (waits ? connectWithin(context) : pool.connect());
      } catch (error) {
        throw describe(error, clock.monotonicMs() - startedMs);
      }
    };
    try {
      if (guard === undefined) return await connect();
      const { client, release } = await guard.acquire(context?.operation, connect);
      return release === undefined ? client : givenBack(client, release);
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      if (poolWaits.hasSubscribers) {
        poolWaits.publish({
          scope,
          server,
          waitMs: clock.monotonicMs() - startedMs,
          inUse: pool.totalCount - pool.idleCount,
          max,
          waiting: pool.waitingCount,
          error: failure,
        });
      }
    }
  }

  /** The end of the request may come before the pool's own limit; a late connection goes back. */
  function connectWithin(context: RequestContext): Promise<pg.PoolClient> {
    const { promise, resolve, reject } = Promise.withResolvers<pg.PoolClient>();
    let ended = false;
    const unwatch = contextWatch.watch(context, () => {
      ended = true;
      const why = endOf(context, `waiting for a connection to ${server}`, clock);
      reject(
        new PlimsollError(why?.code ?? 'PL_DEADLINE', why?.message ?? '', {
          cause: why?.cause,
          data: { ...why?.data, server, ...state() },
        }),
      );
    });
    pool.connect().then(
      (client) => {
        unwatch?.();
        if (ended) client.release();
        else resolve(client);
      },
      (error: unknown) => {
        unwatch?.();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
    return promise;
  }

  function describe(error: unknown, waitedMs: number): unknown {
    if (error instanceof PlimsollError) return error;
    const now = state();
    if (error instanceof Error && /timeout exceeded when trying to connect/i.test(error.message)) {
      return new PlimsollError(
        'PL_POOL_TIMEOUT',
        `no connection to ${server} within ${Math.round(waitedMs)} ms: ${now.inUse} of ${now.max} in use, ${now.waiting} waiting; shorten transactions or ${remedy}`,
        { cause: error, data: { server, ...now } },
      );
    }
    return translateFailure(error, server);
  }

  return { server, acquire, state };
}

/** `pg` sets `release` anew with each checkout. */
function givenBack(client: pg.PoolClient, release: () => void): pg.PoolClient {
  const own = client.release.bind(client);
  client.release = (error) => {
    own(error);
    release();
  };
  return client;
}
