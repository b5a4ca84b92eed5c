import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { Buckets } from './buckets.ts';
import type { HistogramPoint } from './metrics.ts';

/** Node's HDR histogram in microseconds: two significant digits, up to an hour. */
function durations(): RecordableHistogram {
  return createHistogram({ lowest: 1, highest: 3_600_000_000, figures: 2 });
}

function record(histogram: RecordableHistogram, ms: number): void {
  histogram.record(Math.min(3_600_000_000, Math.max(1, Math.round(ms * 1_000))));
}

export interface Percentiles {
  readonly count: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

function percentiles(histogram: RecordableHistogram): Percentiles {
  if (histogram.count === 0) return { count: 0, p50Ms: 0, p95Ms: 0, p99Ms: 0, maxMs: 0 };
  const at = (percentile: number): number => histogram.percentile(percentile) / 1_000;
  return {
    count: histogram.count,
    p50Ms: at(50),
    p95Ms: at(95),
    p99Ms: at(99),
    maxMs: histogram.max / 1_000,
  };
}

function empty(): { readonly histogram: RecordableHistogram; readonly buckets: Buckets } {
  return { histogram: durations(), buckets: new Buckets() };
}

interface Series<Key> {
  readonly key: Key;
  readonly histogram: RecordableHistogram;
  readonly buckets: Buckets;
}

/** Durations since the start, by key; a bounded number of keys, the rest under `(other)`. */
export class KeyedDurations<Key extends Readonly<Record<string, string | number>>> {
  readonly #maxKeys: number;
  readonly #series: Series<Key>[] = [];
  // Two levels, because one would join two strings and hash the result for every duration.
  readonly #index = new Map<string, Map<string, Series<Key>>>();
  #other: Series<Key> | undefined;

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
  }

  /** `first` and `second` together tell keys apart. */
  record(first: string, second: string, key: Key, ms: number): void {
    const { histogram, buckets } = this.#index.get(first)?.get(second) ?? this.#add(first, second, key);
    record(histogram, ms);
    buckets.record(ms);
  }

  #add(first: string, second: string, key: Key): Series<Key> {
    if (this.#series.length >= this.#maxKeys) {
      const names = Object.keys(key).map((name) => [name, '(other)']);
      return (this.#other ??= { key: Object.fromEntries(names) as Key, ...empty() });
    }
    const series = { key, ...empty() };
    this.#series.push(series);
    const inner = this.#index.get(first) ?? new Map<string, Series<Key>>();
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
  readonly #slots: { second: number; histogram: RecordableHistogram }[] = [];

  record(ms: number, nowMs: number): void {
    const second = Math.floor(nowMs / 1_000);
    const index = second % RecentDurations.#seconds;
    let slot = this.#slots[index];
    if (slot === undefined) {
      slot = { second, histogram: durations() };
      this.#slots[index] = slot;
    } else if (slot.second !== second) {
      slot.second = second;
      slot.histogram.reset();
    }
    record(slot.histogram, ms);
  }

  window(lastMs: number, nowMs: number): Percentiles {
    const from = Math.floor((nowMs - lastMs) / 1_000);
    const merged = durations();
    for (const slot of this.#slots) {
      if (slot !== undefined && slot.second >= from && slot.histogram.count > 0) merged.add(slot.histogram);
    }
    return percentiles(merged);
  }
}
