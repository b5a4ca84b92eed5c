import type { RouteReason } from '../../kernel/channels.ts';

/** What became of the reads of one database since it was made. */
export class RouteCounts {
  #reads = 0;
  #replica = 0;
  #fallback = 0;
  #refused = 0;
  #waited = 0;
  readonly #reasons = new Map<RouteReason, number>();

  add(role: 'replica' | 'primary' | 'refused', reason: RouteReason, waitedMs: number): void {
    this.#reads += 1;
    if (role === 'replica') this.#replica += 1;
    else {
      if (role === 'refused') this.#refused += 1;
      else if (reason !== 'intent') this.#fallback += 1;
      this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
    }
    if (waitedMs > 0) this.#waited += 1;
  }

  toJSON(): RouteShares {
    const share = (count: number): number => (this.#reads === 0 ? 0 : count / this.#reads);
    return {
      reads: this.#reads,
      offload: share(this.#replica),
      fallback: share(this.#fallback),
      refused: this.#refused,
      waited: share(this.#waited),
      primaryReasons: Object.fromEntries(this.#reasons),
    };
  }
}

export interface RouteShares {
  readonly reads: number;
  /** Share that replicas served. */
  readonly offload: number;
  /** Share that the primary served without having been asked for. */
  readonly fallback: number;
  /** Refused with PL_BULKHEAD_FULL. */
  readonly refused: number;
  /** Share that asked replicas for their position first, because what was known did not do. */
  readonly waited: number;
  /** How often each reason led away from replicas. */
  readonly primaryReasons: Readonly<Partial<Record<RouteReason, number>>>;
}
