import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import type { Position } from './position.ts';

/** What a loader is given. */
export interface Loading {
  readonly key: string;
  /** Aborts when the load has taken `abandonMs`. */
  readonly signal: AbortSignal;
  /**
   * The value must reflect at least this: read the primary, or a replica that has replayed it. Undefined: anything
   * will do.
   */
  readonly atLeast: Position | undefined;
  /** Tells what the value is known to reflect, where that is more than `atLeast`. */
  reflect: (position: Position) => void;
}

/** `null` is kept as "there is none"; `undefined` is answered and not kept. */
export type Load<V> = (loading: Loading) => V | Promise<V>;

/** At least one. */
export type Tags = readonly [string, ...string[]];

export interface CachePolicyOptions {
  /** How long a value is fresh, from when it was loaded. Milliseconds. */
  readonly ttlMs: number;
  /** What changes the value: by these it is invalidated. At least one, known before it is loaded. */
  readonly tags: Tags | ((key: string) => Tags);
  /** How long `null` is fresh. Default 5_000, or `ttlMs` where that is less. */
  readonly negativeTtlMs?: number;
  /** The part of the time that is taken off at random, so that what was loaded together does not end together. Default 0.1. */
  readonly jitter?: number;
  /** How long after that it is answered at once, and refreshed meanwhile. Default 0. */
  readonly staleWhileRevalidateMs?: number;
  /** How long after it was fresh it is answered when it cannot be loaded in time, or at all. Default 0. */
  readonly staleIfErrorMs?: number;
  /** How long to wait for a load before a stale value is answered. Default Infinity. */
  readonly softTimeoutMs?: number;
  /** How long to wait for a load at all; it goes on, and what it brings is kept. Default 10_000. */
  readonly hardTimeoutMs?: number;
  /** When a load is aborted and another one may begin. Default 60_000. */
  readonly abandonMs?: number;
  /** How long a failed load is not tried again; of this, half is random. Default 500. */
  readonly failureMs?: number;
  /** How eagerly a value is refreshed before it ends (XFetch): times what loading costs. 0: never. Default 1. */
  readonly earlyRefresh?: number;
  /** Values larger than this are answered and not kept. Default 1 MiB. */
  readonly maxBytes?: number;
  /** Under a command, whose decisions must not rest on what is old: `load` each time, or what is `cached`. Default `load`. */
  readonly inCommands?: 'load' | 'cached';
  /** Whether the shared tier keeps it too. Default true. */
  readonly shared?: boolean;
}

/** Of every policy; times in milliseconds. */
export const cachePolicyDefaults = {
  negativeTtlMs: 5_000,
  jitter: 0.1,
  staleWhileRevalidateMs: 0,
  staleIfErrorMs: 0,
  softTimeoutMs: Infinity,
  hardTimeoutMs: 10_000,
  abandonMs: 60_000,
  failureMs: 500,
  earlyRefresh: 1,
  maxBytes: 1_048_576,
} as const;

/** How values are kept: made once, by {@link cachePolicy}, and used for many keys. */
export class CachePolicy {
  readonly options: Required<CachePolicyOptions>;
  // The same list each time, so that its entries can share one too.
  #tags: readonly string[] | undefined = undefined;

  /** @internal Use `cachePolicy`. */
  constructor(options: CachePolicyOptions) {
    const { ttlMs, abandonMs, hardTimeoutMs = cachePolicyDefaults.hardTimeoutMs } = options;
    this.options = {
      ...cachePolicyDefaults,
      inCommands: 'load',
      shared: true,
      ...options,
      negativeTtlMs: options.negativeTtlMs ?? Math.min(ttlMs, cachePolicyDefaults.negativeTtlMs),
      abandonMs: abandonMs ?? Math.max(cachePolicyDefaults.abandonMs, hardTimeoutMs),
    };
    throwIfProblems('the cache policy', problemsOf(this.options));
  }

  /** `own` gives the tags of this one value, instead of those of the policy. */
  tagsOf(key: string, own?: Tags): readonly string[] {
    const { tags } = this.options;
    if (own === undefined && typeof tags !== 'function') return (this.#tags ??= [...new Set(tags)]);
    const given: readonly string[] = own === undefined ? (tags as (key: string) => Tags)(key) : own;
    throwIfProblems(`the tags of ${JSON.stringify(key)}`, tagProblems(given));
    return given.length === 1 ? given : [...new Set(given)];
  }

  /** How long a value that was just loaded is fresh. */
  freshMs(value: unknown, random: () => number): number {
    const { ttlMs, negativeTtlMs, jitter } = this.options;
    return (value === null ? negativeTtlMs : ttlMs) * (1 - jitter * random());
  }

  /** How much earlier it may be refreshed: the more, the dearer it is, and each at its own time. */
  earlyMs(costMs: number, random: () => number): number {
    const { earlyRefresh } = this.options;
    return earlyRefresh === 0 ? 0 : -Math.log(1 - random()) * costMs * earlyRefresh;
  }

  /** How long a load that has failed is not tried again. */
  failedForMs(random: () => number): number {
    return this.options.failureMs * (0.5 + random() / 2);
  }

  /** How long a value is kept when it is no longer fresh. */
  get graceMs(): number {
    return Math.max(this.options.staleWhileRevalidateMs, this.options.staleIfErrorMs);
  }
}

/** Throws PL_CONFIG when an option is not valid, naming every problem. */
export function cachePolicy(options: CachePolicyOptions): CachePolicy {
  return new CachePolicy(options);
}

// Options that were given in place of a policy, so that they are checked once.
const made = new WeakMap<CachePolicyOptions, CachePolicy>();

export function policyFrom(given: CachePolicy | CachePolicyOptions): CachePolicy {
  if (given instanceof CachePolicy) return given;
  let policy = made.get(given);
  if (policy === undefined) {
    policy = new CachePolicy(given);
    made.set(given, policy);
  }
  return policy;
}

function problemsOf(options: Required<CachePolicyOptions>): readonly Problem[] {
  const { ttlMs, negativeTtlMs, softTimeoutMs, hardTimeoutMs, abandonMs, maxBytes } = options;
  const { staleWhileRevalidateMs, staleIfErrorMs, failureMs, earlyRefresh, jitter, tags } = options;
  const problems: Problem[] = typeof tags === 'function' ? [] : [...tagProblems(tags)];
  for (const [path, value] of Object.entries({ ttlMs, hardTimeoutMs, abandonMs, maxBytes, softTimeoutMs }))
    if (!(value > 0)) problems.push({ path, message: `is ${value}; give a number above 0` });
  const fromZero = { negativeTtlMs, staleWhileRevalidateMs, staleIfErrorMs, failureMs, earlyRefresh };
  for (const [path, value] of Object.entries(fromZero))
    if (!(value >= 0)) problems.push({ path, message: `is ${value}; give a number from 0` });
  for (const [path, value] of Object.entries({ ttlMs, staleWhileRevalidateMs, staleIfErrorMs }))
    if (value === Infinity)
      problems.push({ path, message: 'is Infinity; give milliseconds, a year at most' });
  if (!(jitter >= 0 && jitter < 1))
    problems.push({ path: 'jitter', message: `is ${jitter}; give a number from 0 to below 1` });
  if (abandonMs < hardTimeoutMs)
    problems.push({ path: 'abandonMs', message: `is ${abandonMs}, below hardTimeoutMs, ${hardTimeoutMs}` });
  return problems;
}

function tagProblems(tags: readonly string[]): readonly Problem[] {
  if (tags.length === 0)
    return [{ path: 'tags', message: 'has none; name what changes the value, such as `product:7`' }];
  return tags.some((tag) => typeof tag !== 'string' || tag === '')
    ? [{ path: 'tags', message: 'has an empty one; name what changes the value' }]
    : [];
}
