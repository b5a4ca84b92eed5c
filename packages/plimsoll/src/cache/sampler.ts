import { isDeepStrictEqual } from 'node:util';
import { systemClock } from '../kernel/clock.ts';
import { contextWatch, createContextWatch, type ContextWatch } from '../kernel/context-watch.ts';
import type { MutableCounts } from './counts.ts';
import type { Entry } from './entry.ts';
import type { Kept } from './kept.ts';
import type { CacheSettings } from './options.ts';
import type { Load } from './policy.ts';

/** How long an invalidation may take to come here before the entry counts as wrong. */
const settleMs = 1_000;

/** Compares some of the hits with what their loader says, in the background, one at a time. */
export class Sampler {
  readonly #kept: Kept;
  readonly #counts: MutableCounts;
  readonly #every: number;
  readonly #settings: CacheSettings;
  readonly #watch: ContextWatch;
  // Hits since the last one that was compared.
  #since = 0;
  #busy = false;

  constructor(kept: Kept, counts: MutableCounts, settings: CacheSettings) {
    this.#kept = kept;
    this.#counts = counts;
    this.#settings = settings;
    this.#every = settings.sampleEvery;
    this.#watch = settings.clock === systemClock ? contextWatch : createContextWatch(settings.clock);
  }

  hit(entry: Entry, load: Load<unknown> | undefined): void {
    this.#since += 1;
    if (this.#since < this.#every || this.#busy || load === undefined) return;
    this.#since = 0;
    this.#busy = true;
    void this.#compare(entry, load).finally(() => {
      this.#busy = false;
    });
  }

  /** Never rejects: a load that fails says nothing of what is kept. */
  async #compare(entry: Entry, load: Load<unknown>): Promise<void> {
    let truth: unknown;
    try {
      truth = await load({
        key: entry.key,
        signal: new AbortController().signal,
        atLeast: undefined,
        reflect: () => undefined,
      });
    } catch {
      return;
    }
    this.#counts.sampled += 1;
    if (isDeepStrictEqual(truth, entry.value)) return;
    await new Promise<void>((resolve) => {
      this.#watch.watchDeadline(this.#settings.clock.monotonicMs() + settleMs, resolve);
    });
    const isStillKept = this.#kept.entries.get(entry.key) === entry && this.#kept.table.isCurrent(entry);
    if (isStillKept) this.#counts.inconsistent += 1;
  }
}
