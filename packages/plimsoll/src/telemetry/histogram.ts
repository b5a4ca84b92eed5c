/** Sub-buckets of each power of two, as a power of two: 32 of them. */
const subBits = 5;
const subCount = 2 ** subBits;
/** Microseconds: more than an hour, and the most that 32 bits hold. */
const highestUs = 2 ** 32 - 1;

/**
 * Counts durations from 1 µs to over an hour in log-linear buckets, as an HDR histogram does: 32 for each power of
 * two, so that a percentile is at most 1/32 too high and never too low. 3.5 KB; recording is one shift and one
 * addition.
 */
export class Histogram {
  readonly #counts = new Uint32Array((32 - subBits + 1) * subCount);
  #count = 0;
  #maxUs = 0;

  get count(): number {
    return this.#count;
  }

  get maxMs(): number {
    return this.#maxUs / 1_000;
  }

  record(ms: number): void {
    const us = Math.min(highestUs, Math.max(1, Math.round(ms * 1_000)));
    const index = indexOf(us);
    this.#counts[index] = (this.#counts[index] as number) + 1;
    this.#count += 1;
    if (us > this.#maxUs) this.#maxUs = us;
  }

  /** The duration that `percentile` percent did not exceed; 0 when there is none. */
  percentileMs(percentile: number): number {
    const rank = Math.max(1, Math.round((percentile / 100) * this.#count));
    let seen = 0;
    for (const [index, count] of this.#counts.entries()) {
      seen += count;
      if (seen >= rank) return Math.min(highestOf(index), this.#maxUs) / 1_000;
    }
    return 0;
  }

  add(other: Histogram): void {
    for (const [index, count] of other.#counts.entries())
      this.#counts[index] = (this.#counts[index] as number) + count;
    this.#count += other.#count;
    this.#maxUs = Math.max(this.#maxUs, other.#maxUs);
  }

  reset(): void {
    this.#counts.fill(0);
    this.#count = 0;
    this.#maxUs = 0;
  }
}

function indexOf(us: number): number {
  if (us < subCount) return us;
  const shift = 31 - Math.clz32(us) - subBits;
  return (shift + 1) * subCount + (us >>> shift) - subCount;
}

/** The highest duration, in µs, that a bucket counts. */
function highestOf(index: number): number {
  if (index < subCount) return index;
  const shift = Math.floor(index / subCount) - 1;
  return ((index % subCount) + subCount + 1) * 2 ** shift - 1;
}
