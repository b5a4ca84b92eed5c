import { Buckets } from './buckets.ts';
import { Histogram } from './histogram.ts';
import type { HistogramPoint } from './metrics.ts';

export interface Percentiles {
  readonly count: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

function percentiles(histogram: Histogram): Percentiles {
  return {
    count: histogram.count,
    p50Ms: histogram.percentileMs(50),
    p95Ms: histogram.percentileMs(95),
    p99Ms: histogram.percentileMs(99),
    maxMs: histogram.maxMs,
  };
}

interface Series<Key> {
  readonly key: Key;
  readonly histogram: Histogram;
  readonly buckets: Buckets;
}

/** Durations since the start, by key; a bounded number of keys, the rest under `(other)`. */
export class KeyedDurations<Key extends Readonly<Record<string, string | number>>> {
  readonly #maxKeys: number;
  readonly #series: Series<Key>[] = [];
  // Two levels, because one would join two strings and hash the result for every duration.
  readonly #index = new Map<string, Map<string | number, Series<Key>>>();
  #other: Series<Key> | undefined;

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
  }

  /** `first` and `second` together tell keys apart; `keyOf` is asked for what is new. */
  record(first: string, second: string | number, ms: number, keyOf: () => Key): void {
    const { histogram, buckets } = this.#index.get(first)?.get(second) ?? this.#add(first, second, keyOf());
    histogram.record(ms);
    buckets.record(ms);
  }

  #add(first: string, second: string | number, key: Key): Series<Key> {
    if (this.#series.length >= this.#maxKeys) {
      const names = Object.keys(key).map((name) => [name, '(other)']);
      return (this.#other ??= {
        key: Object.fromEntries(names) as Key,
        histogram: new Histogram(),
        buckets: new Buckets(),
      });
    }
    const series = { key, histogram: new Histogram(), buckets: new Buckets() };
    this.#series.push(series);
    const inner = this.#index.get(first) ?? new Map<string | number, Series<Key>>();
    this.#index.set(first, inner.set(second, series));
    return series;
  }

  #all(): readonly Series<Key>[] {
    return this.#other === undefined ? this.#series : [...this.#series, this.#other];
  }

  snapshot(): readonly (Key & Percentiles)[] {
    return this.#all().map(({ key, histogram }) => ({ ...key, ...percentiles(histogram) }));
  }

  /** The same durations by bucket, for those who add up several processes. */
  points(): readonly (HistogramPoint & { readonly attributes: Key })[] {
    return this.#all().map(({ key, buckets: { counts, sumMs } }) => ({
      attributes: key,
      counts: [...counts],
      sumSeconds: sumMs / 1_000,
    }));
  }
}

/** Durations of the last minute, one histogram a second, so that any recent window can be asked for. */
export class RecentDurations {
  static readonly #seconds = 60;
  readonly #slots: { second: number; histogram: Histogram }[] = [];

  record(ms: number, nowMs: number): void {
    const second = Math.floor(nowMs / 1_000);
    const index = second % RecentDurations.#seconds;
    let slot = this.#slots[index];
    if (slot === undefined) {
      slot = { second, histogram: new Histogram() };
      this.#slots[index] = slot;
    } else if (slot.second !== second) {
      slot.second = second;
      slot.histogram.reset();
    }
    slot.histogram.record(ms);
  }

  window(lastMs: number, nowMs: number): Percentiles {
    const from = Math.floor((nowMs - lastMs) / 1_000);
    const merged = new Histogram();
    for (const slot of this.#slots) {
      if (slot !== undefined && slot.second >= from && slot.histogram.count > 0) merged.add(slot.histogram);
    }
    return percentiles(merged);
  }
}

/** How often something happened, by key; a bounded number of keys, the rest under `(other)`. */
export class KeyedCounts<Key extends Readonly<Record<string, string>>> {
  readonly #maxKeys: number;
  readonly #counts = new Map<string, { readonly key: Key; count: number }>();

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
  }

  add(key: Key): void {
    const id = Object.values(key).join('\0');
    const known = this.#counts.get(id);
    if (known !== undefined) known.count += 1;
    else if (this.#counts.size < this.#maxKeys) this.#counts.set(id, { key, count: 1 });
    else this.#other(key);
  }

  #other(key: Key): void {
    const other = Object.fromEntries(Object.keys(key).map((name) => [name, '(other)'])) as Key;
    const known = this.#counts.get('(other)');
    if (known === undefined) this.#counts.set('(other)', { key: other, count: 1 });
    else known.count += 1;
  }

  points(): readonly { readonly attributes: Key; readonly value: number }[] {
    return [...this.#counts.values()].map(({ key, count }) => ({ attributes: key, value: count }));
  }
}
