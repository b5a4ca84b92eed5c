import type { CachePolicy } from './policy.ts';
import type { Mark, Position } from './position.ts';
import type { Slot } from './slot.ts';

/** Ticks are small integers for half a year, which a field holds itself; other numbers lie elsewhere in memory. */
export const tickMs = 8;

/** A value that is kept, and its place in the queue of the process tier. What every hit reads comes first. */
export class Entry {
  // Settled; the same for every hit, so that a hit allocates nothing. Made by the first.
  #answer: Promise<unknown> | undefined;
  /** Until then a hit is nothing but a hit; from then on, one may refresh it early. */
  readonly quietUntilTick: number;
  /** Of the table when the stamp was last compared. */
  sequence: number;
  // Set by a hit; taken away by the hand that looks for what to evict.
  visited: boolean;
  readonly freshUntilMs: number;
  readonly key: string;
  readonly value: unknown;
  readonly policy: CachePolicy;
  readonly slots: readonly Slot[];
  /** The sum of the versions of its slots when its fill began. Versions only grow, so it is equal while none has. */
  readonly stamp: number;
  /** What it is known to reflect. */
  readonly mark: Mark;
  /** The latest that it may show: whoever is answered with it has seen that. */
  readonly shown: Position | undefined;
  readonly bytes: number;
  /** Grows with every flight: a value of an earlier one never replaces that of a later one. */
  readonly flight: number;
  older: Entry | undefined;
  newer: Entry | undefined;

  constructor(of: {
    readonly key: string;
    readonly value: unknown;
    readonly policy: CachePolicy;
    readonly slots: readonly Slot[];
    readonly stamp: number;
    readonly mark: Mark;
    readonly shown: Position | undefined;
    readonly bytes: number;
    readonly flight: number;
    readonly freshUntilMs: number;
    /** How long before that it may be refreshed. */
    readonly earlyMs: number;
  }) {
    this.#answer = undefined;
    this.quietUntilTick = Math.max(0, Math.floor((of.freshUntilMs - of.earlyMs) / tickMs));
    // None of the table: the first hit compares.
    this.sequence = -1;
    this.visited = false;
    this.freshUntilMs = of.freshUntilMs;
    this.key = of.key;
    this.value = of.value;
    this.policy = of.policy;
    this.slots = of.slots;
    this.stamp = of.stamp;
    this.mark = of.mark;
    this.shown = of.shown;
    this.bytes = of.bytes;
    this.flight = of.flight;
    this.older = undefined;
    this.newer = undefined;
  }

  get answer(): Promise<unknown> {
    return (this.#answer ??= Promise.resolve(this.value));
  }

  /** Whether it is time to refresh it early. */
  isDue(nowMs: number): boolean {
    return this.policy.options.earlyRefresh > 0 && nowMs >= this.quietUntilTick * tickMs;
  }

  /** Until then it is answered while it is refreshed. */
  get staleUntilMs(): number {
    return this.freshUntilMs + this.policy.options.staleWhileRevalidateMs;
  }

  /** Until then it is answered when it cannot be refreshed. */
  get keptUntilMs(): number {
    return this.freshUntilMs + this.policy.graceMs;
  }
}
