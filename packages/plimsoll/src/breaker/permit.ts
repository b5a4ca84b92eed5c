/** Leave to make one call. Tell once how it ended; what comes later, or after the state has changed, does not count. */
export interface Permit {
  /** `durationMs` is measured from `acquire` on when it is not given. */
  succeed(durationMs?: number): void;
  /** Counts only if the error is a failure of what was called. */
  fail(error: unknown, durationMs?: number): void;
  /** Says nothing of what was called: nobody waits any more, or nothing was called. */
  drop(): void;
}

/** Who gave the permit. */
export interface PermitOwner {
  /** Whether the error says something of what was called. */
  counts(error: unknown): boolean;
  ended(epoch: number, error: unknown, failed: boolean, startedAtMs: number, durationMs?: number): void;
  dropped(epoch: number): void;
}

/** No call has this epoch. */
const settled = -1;

export class HeldPermit implements Permit {
  readonly #owner: PermitOwner;
  readonly #startedAtMs: number;
  #epoch: number;

  constructor(owner: PermitOwner, epoch: number, startedAtMs: number) {
    this.#owner = owner;
    this.#epoch = epoch;
    this.#startedAtMs = startedAtMs;
  }

  succeed(durationMs?: number): void {
    const epoch = this.#epoch;
    this.#epoch = settled;
    this.#owner.ended(epoch, undefined, false, this.#startedAtMs, durationMs);
  }

  fail(error: unknown, durationMs?: number): void {
    const epoch = this.#epoch;
    this.#epoch = settled;
    if (this.#owner.counts(error)) this.#owner.ended(epoch, error, true, this.#startedAtMs, durationMs);
    else this.#owner.dropped(epoch);
  }

  drop(): void {
    this.#owner.dropped(this.#epoch);
    this.#epoch = settled;
  }
}
