import { createBreaker, type Breaker, type BreakerStatus } from '../breaker/breaker.ts';
import type { BreakerOptions } from '../breaker/options.ts';
import { createBulkhead, type Bulkhead, type BulkheadState, type Release } from '../bulkhead/bulkhead.ts';
import type { Clock } from '../kernel/clock.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import type { FailureKind } from '../kernel/failure-kind.ts';

/** Of the breaker of a server that gives no connections. */
export type PoolBreaker = Pick<
  BreakerOptions,
  'windowMs' | 'minimumCalls' | 'failureRatio' | 'breakMs' | 'maxBreakMs'
>;

export interface PoolGuardOptions {
  /** Whose connections: `primary`. */
  readonly server: string;
  readonly max: number;
  /** Connections that one module may hold. */
  readonly maxPerModule: number;
  readonly acquireTimeoutMs: number;
  readonly breaker: PoolBreaker | false;
  readonly scope: object;
  readonly clock: Clock;
}

export interface PoolGuardState {
  readonly breaker?: BreakerStatus;
  /** Of each module that has asked; empty where one may hold them all. */
  readonly modules: readonly BulkheadState[];
}

/** What a connection is asked for through: neither a server that is away nor one module takes it from all others. */
export interface PoolGuard {
  /** Runs `connect` unless the server is known to be away, once the module may hold one more. */
  acquire<Client>(
    operation: string | undefined,
    connect: () => Promise<Client>,
  ): Promise<{ readonly client: Client; readonly release: Release | undefined }>;
  state(): PoolGuardState;
}

/**
 * Short breaks: a probe costs one connect. No ramp, as the pool itself lets through no more than it has connections.
 */
export const poolBreakerDefaults = {
  windowMs: 5_000,
  minimumCalls: 10,
  failureRatio: 0.5,
  breakMs: 250,
  maxBreakMs: 1_000,
} as const satisfies PoolBreaker;

/** Three quarters, so that a module whose statements hang leaves some; below four connections there is nothing to share. */
export const connectionsPerModule = (max: number): number => (max < 4 ? max : max - Math.floor(max / 4));

const maxWaiting = 10_000;

export function createPoolGuard(options: PoolGuardOptions): PoolGuard {
  const { server, max, maxPerModule, acquireTimeoutMs, scope, clock } = options;
  const breaker: Breaker | undefined =
    options.breaker === false
      ? undefined
      : createBreaker({
          ...poolBreakerDefaults,
          ...options.breaker,
          name: `connections to ${server}`,
          rampMs: 0,
          classify: isAway,
          scope,
          clock,
        });
  const modules = new Map<string, Bulkhead>();

  function bulkheadOf(operation: string | undefined): Bulkhead | undefined {
    if (operation === undefined || maxPerModule >= max) return undefined;
    const module = operation.split('.', 1)[0] ?? '';
    let bulkhead = modules.get(module);
    if (bulkhead === undefined) {
      const name = `connections of ${module} to ${server}`;
      const bounds = { max: maxPerModule, maxWaiting, maxWaitMs: acquireTimeoutMs };
      bulkhead = createBulkhead({ name, ...bounds, scope, clock });
      modules.set(module, bulkhead);
    }
    return bulkhead;
  }

  return {
    async acquire(operation, connect) {
      const permit = breaker?.acquire();
      const bulkhead = bulkheadOf(operation);
      let release: Release | undefined;
      try {
        if (bulkhead !== undefined) release = bulkhead.tryAcquire() ?? (await bulkhead.acquire());
        const client = await connect();
        permit?.succeed();
        return { client, release };
      } catch (error) {
        release?.();
        permit?.fail(error);
        throw error;
      }
    },
    state: () => ({
      ...(breaker === undefined ? {} : { breaker: breaker.state() }),
      modules: [...modules.values()].map((bulkhead) => bulkhead.state()),
    }),
  };
}

/** All connections in use is no failure of the server, and neither is a request that has ended. */
const isAway = (error: unknown): FailureKind =>
  isPlimsollError(error, 'PL_DATABASE_UNAVAILABLE') ? 'failure' : 'refused';
