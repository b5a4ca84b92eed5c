import type { Clock } from '../kernel/clock.ts';
import type { Mark } from './position.ts';

/** A value of the shared tier. */
export interface SharedValue {
  readonly data: string;
  readonly mark: Mark;
  /** By the clock of the store; below 0 it is stale, and kept only for who asks for it. */
  readonly freshForMs: number;
  /** What loading it took. */
  readonly costMs: number;
}

export interface SharedAsk {
  readonly key: string;
  /** Each once. */
  readonly tags: readonly string[];
  /** A value that reflects less counts as none. */
  readonly atLeast: Mark;
  /** How long a version that is made for this question has to be kept at least. */
  readonly keepMs: number;
  /**
   * Asks for the right to load, when there is no value that is fresh for longer than `belowMs`. One has it at a time;
   * who got it before the last invalidation has it no more. Nobody gets it for a while after a load that failed.
   */
  readonly lease?: { readonly owner: string; readonly forMs: number; readonly belowMs: number };
}

export interface SharedAnswer {
  /** Only when none of its versions has changed since it was filled. */
  readonly value: SharedValue | undefined;
  /** Decimal numbers: of everything, of the key, and of each tag in the order asked. What a fill has to give back. */
  readonly versions: readonly string[];
  /** The latest position that one of them was invalidated at. */
  readonly floor: Mark;
  /** Whether the right to load was given. */
  readonly leased: boolean;
  /** When it was asked for and not given because the last load failed: for how long it is given to nobody. Else 0. */
  readonly failedForMs: number;
}

export interface SharedFill {
  readonly key: string;
  readonly tags: readonly string[];
  readonly versions: readonly string[];
  readonly data: string;
  readonly mark: Mark;
  readonly freshMs: number;
  /** At least `freshMs`. */
  readonly keepMs: number;
  readonly costMs: number;
  /** Whose lease ends with it. */
  readonly owner: string;
}

export interface SharedInvalidation {
  readonly keys: readonly string[];
  readonly tags: readonly string[];
  readonly everything: boolean;
  readonly floor: Mark;
}

/**
 * One cache in a store. Versions are counters that begin at a random number of up to 62 bits, so that one that was
 * lost never comes back as it was; each invalidation adds exactly one.
 */
export interface SharedTable {
  read(ask: SharedAsk): Promise<SharedAnswer>;
  /** In one step: kept when all versions are still those, else false and nothing changes. */
  fill(fill: SharedFill): Promise<boolean>;
  /** When it resolves, no value that was filled with the former versions is answered any more. */
  invalidate(invalidation: SharedInvalidation): Promise<void>;
  /** The right to load lasts for so long from now on, if this owner has it; false if he does not. */
  renew(key: string, owner: string, forMs: number): Promise<boolean>;
  /**
   * Gives the right to load back, if this owner has it. With `failedForMs` above 0 nobody gets it for so long, or until
   * something it rests on is invalidated.
   */
  release(key: string, owner: string, failedForMs?: number): Promise<void>;
}

export interface SharedTableOptions {
  /** Of the cache and of its format: what is kept under other names is apart. */
  readonly name: string;
  readonly clock: Clock;
  /** Whose telemetry this is. */
  readonly scope: object;
}

/** Where values are kept that several processes share. */
export interface SharedStore {
  open(options: SharedTableOptions): SharedTable;
}

/** From 1 to below 2^62: room for more invalidations than there will ever be. */
export function randomVersion(): bigint {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return ((BigInt(high) << 30n) | BigInt(low >>> 2)) + 1n;
}

/** Of a version that was invalidated once and by nobody else. */
export const nextVersion = (version: string): string => String(BigInt(version) + 1n);
