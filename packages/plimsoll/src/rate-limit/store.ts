import { createHash } from 'node:crypto';
import type { Clock } from '../kernel/clock.ts';
import type { StoreRule } from './rules.ts';

/** Where one counter stands. */
export interface Level {
  /** Points used and not yet back. */
  readonly used: number;
  /** Milliseconds until none are used. */
  readonly resetMs: number;
}

/** What a store says of one call. */
export interface Decision {
  readonly allowed: boolean;
  /** By rule, after the decision; undefined where the rule did not apply. */
  readonly levels: readonly (Level | undefined)[];
}

/** The counters of one limit. */
export interface RateCounters {
  /**
   * Takes `cost` points for every key, or nothing at all when one of them has too few: in one step, whoever else
   * takes. `keys` are by rule; undefined where a rule does not apply. A cost of 0 changes nothing.
   */
  take(keys: readonly (string | undefined)[], cost: number): Decision | Promise<Decision>;
  /** Gives all points of these keys back. */
  reset(keys: readonly (string | undefined)[]): void | Promise<void>;
}

export interface CountersOptions {
  /** Of the limit; its counters are apart from those of other names. */
  readonly name: string;
  readonly rules: readonly StoreRule[];
  readonly clock: Clock;
  /** Whose telemetry this is. */
  readonly scope: object;
}

/** Where counters are kept. Its own clock decides: that of the process, or of the server. */
export interface RateLimitStore {
  /** Whether it is outside the process, so that it can be away. */
  readonly shared: boolean;
  open(options: CountersOptions): RateCounters;
}

const plain = /^[\x21-\x7e]{1,64}$/;

/** Keys come from clients: of bounded length, and with no character that a server would refuse. */
export function storedKey(key: string): string {
  return plain.test(key) ? key : `#${createHash('sha256').update(key).digest('base64url')}`;
}
