import type { BreakerOptions } from '../breaker/options.ts';
import type { BulkheadOptions } from '../bulkhead/options.ts';
import type { RetryOptions } from '../retry/options.ts';
import type { TimeoutOptions } from '../timeout/timeout.ts';
import type { Clock } from '../kernel/clock.ts';

/** What the policy gives to each of its guards. */
type Given = 'name' | 'scope' | 'clock' | 'random';

/** Each guard has its own page and defaults; `false` leaves it out. */
export interface PolicyOptions {
  /** What is called: `bank`. In errors, events and state of every guard. */
  readonly name: string;
  /** Default: three attempts of what is safe. */
  readonly retry?: Omit<RetryOptions, Given> | false;
  /** Default: half of at least 20 calls in 10 s. */
  readonly breaker?: Omit<BreakerOptions, Given> | false;
  /** Default: 50 calls at once, 100 more wait up to a second. */
  readonly bulkhead?: Partial<Omit<BulkheadOptions, Given>> | false;
  /** Of each attempt. Default 5000 ms. */
  readonly timeout?: Omit<TimeoutOptions, Given> | false;
  /** The app that messages on the channels belong to. Default: the policy. */
  readonly scope?: object;
  readonly clock?: Clock;
  /** From 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
}

/** Where the guards' own defaults are not enough. */
export const policyDefaults = { timeoutMs: 5_000, max: 50 } as const;
