import type { Clock } from '../kernel/clock.ts';
import { laterMark, noMark, type Mark } from './position.ts';
import {
  randomVersion,
  type SharedAnswer,
  type SharedAsk,
  type SharedFill,
  type SharedInvalidation,
  type SharedStore,
  type SharedTable,
} from './shared-store.ts';

interface Version {
  version: bigint;
  floor: Mark;
}

interface Lease {
  /** Undefined: nobody has it, as the last load failed. */
  readonly owner: string | undefined;
  readonly untilMs: number;
  readonly versions: readonly string[];
}

interface Kept {
  readonly fill: SharedFill;
  readonly freshUntilMs: number;
  readonly keptUntilMs: number;
}

/** Shared by the caches of one process that are given it, and by no other process: for tests. Nothing is evicted. */
export function memorySharedStore(): SharedStore {
  const tables = new Map<string, MemoryTable>();
  return {
    open({ name, clock }) {
      let table = tables.get(name);
      if (table === undefined) {
        table = new MemoryTable(clock);
        tables.set(name, table);
      }
      return table;
    },
  };
}

class MemoryTable implements SharedTable {
  readonly #clock: Clock;
  readonly #versions = new Map<string, Version>();
  readonly #values = new Map<string, Kept>();
  readonly #leases = new Map<string, Lease>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async read({ key, tags, atLeast, lease }: SharedAsk): Promise<SharedAnswer> {
    const nowMs = this.#clock.monotonicMs();
    const slots = this.#slots(key, tags);
    const versions = slots.map(({ version }) => String(version));
    const kept = this.#values.get(key);
    const valid =
      kept !== undefined &&
      kept.keptUntilMs > nowMs &&
      kept.fill.mark >= atLeast &&
      isSame(kept.fill.versions, versions);
    const freshForMs = valid ? kept.freshUntilMs - nowMs : -Infinity;
    let [leased, failedForMs] = [false, 0];
    if (lease !== undefined && freshForMs <= lease.belowMs) {
      const held = this.#leases.get(key);
      leased = held === undefined || held.untilMs <= nowMs || !isSame(held.versions, versions);
      if (!leased && held !== undefined && held.owner === undefined) failedForMs = held.untilMs - nowMs;
      if (leased) this.#leases.set(key, { owner: lease.owner, untilMs: nowMs + lease.forMs, versions });
    }
    return {
      value: valid
        ? { data: kept.fill.data, mark: kept.fill.mark, costMs: kept.fill.costMs, freshForMs }
        : undefined,
      versions,
      floor: slots.reduce((floor, slot) => laterMark(floor, slot.floor), noMark),
      leased,
      failedForMs,
    };
  }

  async fill(fill: SharedFill): Promise<boolean> {
    const { key, tags, versions, owner, freshMs, keepMs } = fill;
    this.#endLease(key, owner);
    const current = this.#slots(key, tags).map(({ version }) => String(version));
    if (!isSame(versions, current)) return false;
    const nowMs = this.#clock.monotonicMs();
    this.#values.set(key, { fill, freshUntilMs: nowMs + freshMs, keptUntilMs: nowMs + keepMs });
    return true;
  }

  async invalidate({ keys, tags, everything, floor }: SharedInvalidation): Promise<void> {
    const names = [
      ...(everything ? ['*'] : []),
      ...keys.map((key) => `k:${key}`),
      ...tags.map((tag) => `t:${tag}`),
    ];
    for (const name of names) {
      const slot = this.#slot(name);
      slot.version += 1n;
      slot.floor = laterMark(slot.floor, floor);
    }
    for (const key of keys) this.#values.delete(key);
  }

  async renew(key: string, owner: string, forMs: number): Promise<boolean> {
    const held = this.#leases.get(key);
    if (held?.owner !== owner) return false;
    this.#leases.set(key, { ...held, untilMs: this.#clock.monotonicMs() + forMs });
    return true;
  }

  async release(key: string, owner: string, failedForMs = 0): Promise<void> {
    const held = this.#leases.get(key);
    if (held?.owner !== owner) return;
    const untilMs = this.#clock.monotonicMs() + failedForMs;
    if (failedForMs > 0) this.#leases.set(key, { ...held, owner: undefined, untilMs });
    else this.#leases.delete(key);
  }

  #endLease(key: string, owner: string): void {
    if (this.#leases.get(key)?.owner === owner) this.#leases.delete(key);
  }

  #slots(key: string, tags: readonly string[]): readonly Version[] {
    return ['*', `k:${key}`, ...tags.map((tag) => `t:${tag}`)].map((name) => this.#slot(name));
  }

  #slot(name: string): Version {
    let slot = this.#versions.get(name);
    if (slot === undefined) {
      slot = { version: randomVersion(), floor: noMark };
      this.#versions.set(name, slot);
    }
    return slot;
  }
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((version, at) => version === other[at]);
}
