/** What the newest calls came to. Every call costs the same, however many there are. */
export interface CallWindow {
  readonly calls: number;
  readonly failures: number;
  readonly slow: number;
  /** Failures since the last success. */
  readonly failuresInRow: number;
  /** Whether `record` and `forgetOld` look at the time. */
  readonly needsTime: boolean;
  record(failed: boolean, slow: boolean, nowMs: number): void;
  /** Leaves out what is too old by now. */
  forgetOld(nowMs: number): void;
  clear(): void;
}

const failedBit = 1;
const slowBit = 2;

/** The last `size` calls: a ring with one byte each. */
export class CountWindow implements CallWindow {
  calls = 0;
  failures = 0;
  slow = 0;
  failuresInRow = 0;
  readonly needsTime = false;
  readonly #ring: Uint8Array;
  /** Where the next call goes, wherever the first one went; there lies the oldest one once the ring is full. */
  #next = 0;

  constructor(size: number) {
    this.#ring = new Uint8Array(size);
  }

  record(failed: boolean, slow: boolean): void {
    if (this.calls === this.#ring.length) {
      const oldest = this.#ring[this.#next] as number;
      if ((oldest & failedBit) !== 0) this.failures -= 1;
      if ((oldest & slowBit) !== 0) this.slow -= 1;
    } else this.calls += 1;
    this.#ring[this.#next] = (failed ? failedBit : 0) | (slow ? slowBit : 0);
    this.#next = this.#next + 1 === this.#ring.length ? 0 : this.#next + 1;
    if (failed) this.failures += 1;
    if (slow) this.slow += 1;
    this.failuresInRow = failed ? this.failuresInRow + 1 : 0;
  }

  forgetOld(): void {
    // Only newer calls push old ones out.
  }

  clear(): void {
    this.calls = 0;
    this.failures = 0;
    this.slow = 0;
    this.failuresInRow = 0;
  }
}

/** Ten: a call is forgotten after between nine and ten tenths of the window. */
const bucketCount = 10;

/** The calls that ended in the last `windowMs`: a ring of buckets, each of a tenth of that time. */
export class TimeWindow implements CallWindow {
  calls = 0;
  failures = 0;
  slow = 0;
  failuresInRow = 0;
  readonly needsTime = true;
  readonly #bucketMs: number;
  readonly #calls = new Uint32Array(bucketCount);
  readonly #failures = new Uint32Array(bucketCount);
  readonly #slow = new Uint32Array(bucketCount);
  /** The tenth of a window, counted from when the clock began, whose calls go into the present bucket. */
  #tick = 0;
  #bucket = 0;
  #tickEndsAtMs = -Infinity;

  constructor(windowMs: number) {
    this.#bucketMs = windowMs / bucketCount;
  }

  record(failed: boolean, slow: boolean, nowMs: number): void {
    if (nowMs >= this.#tickEndsAtMs) this.forgetOld(nowMs);
    const bucket = this.#bucket;
    this.calls += 1;
    this.#calls[bucket] = (this.#calls[bucket] as number) + 1;
    if (failed) {
      this.failures += 1;
      this.failuresInRow += 1;
      this.#failures[bucket] = (this.#failures[bucket] as number) + 1;
    } else this.failuresInRow = 0;
    if (slow) {
      this.slow += 1;
      this.#slow[bucket] = (this.#slow[bucket] as number) + 1;
    }
  }

  /** Empties the bucket of every tenth that has begun since, not only the next one. */
  forgetOld(nowMs: number): void {
    const tick = Math.floor(nowMs / this.#bucketMs);
    if (tick <= this.#tick) return;
    for (let left = Math.min(tick - this.#tick, bucketCount); left > 0; left -= 1) {
      this.#bucket = (this.#bucket + 1) % bucketCount;
      this.calls -= this.#calls[this.#bucket] as number;
      this.failures -= this.#failures[this.#bucket] as number;
      this.slow -= this.#slow[this.#bucket] as number;
      this.#calls[this.#bucket] = 0;
      this.#failures[this.#bucket] = 0;
      this.#slow[this.#bucket] = 0;
    }
    if (this.calls === 0) this.failuresInRow = 0;
    this.#tick = tick;
    this.#tickEndsAtMs = (tick + 1) * this.#bucketMs;
  }

  clear(): void {
    this.calls = 0;
    this.failures = 0;
    this.slow = 0;
    this.failuresInRow = 0;
    this.#calls.fill(0);
    this.#failures.fill(0);
    this.#slow.fill(0);
  }
}
