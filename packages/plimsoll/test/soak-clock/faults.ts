import type { CausalityChecker } from 'plimsoll/testing';
import type { PrivateRedis } from '../../src/redis/fixtures/redis-server.ts';
import type { Proxy } from './proxy.ts';
import type { Servers } from './servers.ts';

export const databaseFaults = [
  'replay paused',
  'replay delayed',
  'replica restarted with less',
  'backends terminated',
  'primary restarted',
  'promotion that loses a tail',
  'replica frozen',
  'synchronous standby stalled',
] as const;
export const cacheFaults = [
  'bus messages dropped',
  'bus messages delayed',
  'Redis restarted',
  'Redis frozen',
] as const;
export type FaultKind = (typeof databaseFaults)[number] | (typeof cacheFaults)[number];

export interface FaultContext {
  readonly servers: Servers;
  /** All are told what a promotion loses. */
  readonly checkers: readonly CausalityChecker[];
  /** Undefined where there is none. */
  readonly redis: PrivateRedis | undefined;
  /** In front of what the caches share. */
  readonly cacheProxy: Proxy;
  readonly random: () => number;
  /** Ends early with the run. */
  readonly pause: (ms: number) => Promise<void>;
  /** How far positions went back, commits that a promotion lost, and the like. */
  readonly notes: Record<string, number>;
}

/** Does it and undoes it; a fault that did not happen rejects. */
export type Fault = (context: FaultContext) => Promise<void>;

export const note = ({ notes }: FaultContext, what: string, by = 1): void => {
  notes[what] = (notes[what] ?? 0) + by;
};
