/** Which part of the calls is admitted, each for the same time, before all are. */
const shares = [0.1, 0.25, 0.5];

/**
 * Admits a growing part of the calls after a breaker has closed, so that all who waited do not come at once over
 * what has only just recovered. By counting, not by chance: of a hundred calls, exactly ten.
 */
export class Ramp {
  readonly #rampMs: number;
  #beganAtMs = -Infinity;
  /** Reaches 1 for each call that may pass. */
  #credit = 0;

  constructor(rampMs: number) {
    this.#rampMs = rampMs;
  }

  begin(nowMs: number): void {
    this.#beganAtMs = nowMs;
    this.#credit = 0;
  }

  end(): void {
    this.#beganAtMs = -Infinity;
  }

  /** False without looking at the time once `admits` has seen that it is over. */
  get mayBeOn(): boolean {
    return this.#beganAtMs !== -Infinity;
  }

  /** 0 when it is over. */
  leftMs(nowMs: number): number {
    return Math.max(0, this.#beganAtMs + this.#rampMs - nowMs);
  }

  share(nowMs: number): number {
    if (this.leftMs(nowMs) === 0) return 1;
    return shares[Math.floor(((nowMs - this.#beganAtMs) * shares.length) / this.#rampMs)] ?? 1;
  }

  /** A call is also admitted when no other is under way: one at a time is no rush. */
  admits(nowMs: number, underWay: number): boolean {
    const share = this.share(nowMs);
    if (share === 1) {
      this.end();
      return true;
    }
    this.#credit += share;
    // Sums of tenths are not exact.
    if (this.#credit < 1 - 1e-9) return underWay === 0;
    this.#credit -= 1;
    return true;
  }
}
