import type { Clock } from '../kernel/clock.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import { KeyTable } from './key-table.ts';
import { toleranceMs, windowEndMs, type Period, type StoreRule } from './rules.ts';
import { storedKey, type Decision, type Level, type RateCounters, type RateLimitStore } from './store.ts';

export interface MemoryStoreOptions {
  /** Most keys of one rule. What comes above shares one counter. Default 100_000. */
  readonly maxKeys?: number;
}

export const memoryStoreDefaults: Required<MemoryStoreOptions> = { maxKeys: 100_000 };

/**
 * Counters in this process. Bounded: a key that is in use is never given up for another, so nobody gets rid of his
 * own counter by sending many keys. When all are in use, further keys share one counter.
 */
export function memoryStore(options: MemoryStoreOptions = {}): RateLimitStore {
  const { maxKeys } = { ...memoryStoreDefaults, ...options };
  const sound = Number.isInteger(maxKeys) && maxKeys >= 1 && maxKeys <= 10_000_000;
  throwIfProblems(
    'the memory store',
    sound ? [] : [{ path: 'maxKeys', message: `is ${maxKeys}; want a whole number from 1 to 10000000` }],
  );
  return {
    shared: false,
    open: ({ rules, clock }) => new MemoryCounters(rules.map((rule) => tableOf(rule, maxKeys, clock))),
  };
}

/** Of the last call; the next one overwrites it. */
export interface OneTaken extends Level {
  readonly allowed: boolean;
}

/** The counters of one rule. */
interface Table extends OneTaken {
  /** `check`, and `take` where that is allowed. */
  takeOne(key: string, cost: number): void;
  /** Whether there are enough points; takes none, and remembers what the others need. */
  check(key: string, cost: number): boolean;
  /** Takes what was checked just before. */
  take(): void;
  /** After what was checked just before, and taken or not. */
  readonly used: number;
  readonly resetMs: number;
  reset(key: string): void;
}

/** @internal */
export class MemoryCounters implements RateCounters {
  readonly #tables: readonly Table[];

  constructor(tables: readonly Table[]) {
    this.#tables = tables;
  }

  take(keys: readonly (string | undefined)[], cost: number): Decision {
    let allowed = true;
    const levels: (Level | undefined)[] = [];
    for (let index = 0; index < keys.length; index += 1) {
      const key = keys[index];
      if (key !== undefined && !this.#table(index).check(key, cost)) allowed = false;
    }
    for (let index = 0; index < keys.length; index += 1) {
      if (keys[index] === undefined) {
        levels.push(undefined);
        continue;
      }
      const table = this.#table(index);
      if (allowed) table.take();
      levels.push({ used: table.used, resetMs: table.resetMs });
    }
    return { allowed, levels };
  }

  /** As `take` where there is one rule and it applies; its level is read from the table that is returned. */
  takeOne(key: string, cost: number): OneTaken {
    const table = this.#table(0);
    table.takeOne(key, cost);
    return table;
  }

  reset(keys: readonly (string | undefined)[]): void {
    for (const [index, key] of keys.entries()) if (key !== undefined) this.#table(index).reset(key);
  }

  #table(index: number): Table {
    return this.#tables[index] as Table;
  }
}

const tableOf = (rule: StoreRule, maxKeys: number, clock: Clock): Table =>
  rule.kind === 'rate' ? new BucketTable(rule, maxKeys, clock) : new QuotaTable(rule, maxKeys, clock);

/** No client makes us keep what it likes. Below this, hashing would cost more than it saves. */
const bounded = (key: string): string => (key.length > 128 ? storedKey(key) : key);

/** GCRA: of each key the time at which its bucket is full again. */
class BucketTable implements Table {
  allowed = false;
  resetMs = 0;
  readonly #keys: KeyTable;
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #mostAheadMs: number;
  // The bucket of those for which there is no room.
  #overflowAtMs = 0;
  // Of the last check, until its take.
  #key = '';
  #slot: number | undefined;
  #overflows = false;
  #nowMs = 0;
  #fullAtMs = 0;
  #costMs = 0;

  constructor(rule: StoreRule & { readonly kind: 'rate' }, maxKeys: number, clock: Clock) {
    this.#keys = new KeyTable(maxKeys);
    this.#clock = clock;
    this.#intervalMs = rule.intervalMs;
    this.#mostAheadMs = rule.capacity * rule.intervalMs + toleranceMs(rule.intervalMs);
  }

  /** The same as the two, without what they remember of each other. */
  takeOne(key: string, cost: number): void {
    const slot = this.#keys.find(bounded(key));
    if (slot === undefined || cost === 0) {
      this.allowed = this.check(key, cost);
      if (this.allowed) this.take();
      return;
    }
    const nowMs = this.#clock.monotonicMs();
    let aheadMs = this.#keys.timeAt(slot) - nowMs;
    if (aheadMs < 0) aheadMs = 0;
    const takenMs = aheadMs + cost * this.#intervalMs;
    this.allowed = takenMs <= this.#mostAheadMs;
    if (this.allowed) {
      this.#keys.setAt(slot, nowMs + takenMs);
      aheadMs = takenMs;
    }
    this.resetMs = aheadMs;
  }

  check(key: string, cost: number): boolean {
    const nowMs = this.#clock.monotonicMs();
    this.#nowMs = nowMs;
    this.#key = bounded(key);
    this.#slot = this.#keys.find(this.#key);
    this.#overflows = this.#slot === undefined && !this.#keys.makeRoom(nowMs);
    let fullAtMs = nowMs;
    if (this.#slot !== undefined) fullAtMs = this.#keys.timeAt(this.#slot);
    else if (this.#overflows) fullAtMs = this.#overflowAtMs;
    this.#fullAtMs = fullAtMs > nowMs ? fullAtMs : nowMs;
    this.#costMs = cost * this.#intervalMs;
    this.resetMs = this.#fullAtMs - nowMs;
    return this.#fullAtMs + this.#costMs - nowMs <= this.#mostAheadMs;
  }

  take(): void {
    if (this.#costMs === 0) return;
    this.#fullAtMs += this.#costMs;
    this.resetMs = this.#fullAtMs - this.#nowMs;
    if (this.#slot !== undefined) this.#keys.setAt(this.#slot, this.#fullAtMs);
    else if (this.#overflows) this.#overflowAtMs = this.#fullAtMs;
    else this.#keys.add(this.#key, this.#fullAtMs);
  }

  get used(): number {
    return this.resetMs / this.#intervalMs;
  }

  reset(key: string): void {
    this.#keys.delete(bounded(key));
  }
}

/** Points used by each key in the window of now; those of an ended window go all at once. */
class QuotaTable implements Table {
  allowed = false;
  readonly #maxKeys: number;
  readonly #clock: Clock;
  readonly #capacity: number;
  readonly #per: Period;
  #used = new Map<string, number>();
  // By those for which there is no room.
  #overflow = 0;
  #beganMs = 0;
  #endMs = 0;
  // Of the last check, until its take.
  #key = '';
  #overflows = false;
  #nowMs = 0;
  #before = 0;
  #cost = 0;

  constructor(rule: StoreRule & { readonly kind: 'quota' }, maxKeys: number, clock: Clock) {
    this.#maxKeys = maxKeys;
    this.#clock = clock;
    this.#capacity = rule.capacity;
    this.#per = rule.per;
  }

  takeOne(key: string, cost: number): void {
    this.allowed = this.check(key, cost);
    if (this.allowed) this.take();
  }

  check(key: string, cost: number): boolean {
    // The calendar is that of the wall clock, which may be set.
    const nowMs = this.#clock.now();
    this.#nowMs = nowMs;
    if (nowMs >= this.#endMs) {
      this.#used = new Map();
      this.#overflow = 0;
    }
    // Set back, it ends the window earlier, and gives no points back before.
    if (nowMs >= this.#endMs || nowMs < this.#beganMs) {
      this.#beganMs = nowMs;
      this.#endMs = windowEndMs(nowMs, this.#per);
    }
    this.#key = bounded(key);
    const used = this.#used.get(this.#key);
    this.#overflows = used === undefined && this.#used.size >= this.#maxKeys;
    this.#before = this.#overflows ? this.#overflow : (used ?? 0);
    this.#cost = cost;
    return this.#before + cost <= this.#capacity;
  }

  take(): void {
    if (this.#cost === 0) return;
    this.#before += this.#cost;
    if (this.#overflows) this.#overflow = this.#before;
    else this.#used.set(this.#key, this.#before);
  }

  get used(): number {
    return this.#before;
  }

  get resetMs(): number {
    return this.#before === 0 ? 0 : this.#endMs - this.#nowMs;
  }

  reset(key: string): void {
    this.#used.delete(bounded(key));
  }
}
