/** As many as a 95th percentile needs. */
const kept = 128;
/** The last 128 durations, and percentiles of them that lag by a quarter of what there was, at most by 63. */
export class Durations {
  readonly #ring = new Float64Array(kept);
  #sorted = new Float64Array(0);
  #count = 0;
  #sortedAt = 0;

  get count(): number {
    return this.#count;
  }

  record(ms: number): void {
    this.#ring[this.#count % kept] = ms;
    this.#count += 1;
  }

  /** The duration that the ratio of them did not exceed; 0 when there is none. */
  percentileMs(ratio: number): number {
    // Sorted again only now and then: sorting 128 costs as much as a few dozen calls.
    if (this.#count - this.#sortedAt >= Math.min(64, Math.ceil(this.#sortedAt / 4))) {
      this.#sorted = this.#ring.slice(0, Math.min(this.#count, kept)).sort();
      this.#sortedAt = this.#count;
    }
    return this.#sorted[Math.max(0, Math.ceil(ratio * this.#sorted.length) - 1)] ?? 0;
  }
}
