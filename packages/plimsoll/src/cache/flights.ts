import { background, cacheReads, type CacheReadMessage } from '../kernel/channels.ts';
import type { RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import type { MutableCounts } from './counts.ts';
import { Entry } from './entry.ts';
import { Failures } from './failures.ts';
import { Flight } from './flight.ts';
import type { Kept } from './kept.ts';
import type { CacheSettings } from './options.ts';
import { goneWith, late, type Outcome } from './outcome.ts';
import type { CachePolicy, Load } from './policy.ts';
import { laterMark, noMark, positionOf, type Mark } from './position.ts';
import type { Readers } from './readers.ts';
import { runLoad } from './run-load.ts';
import type { Found, SharedFills } from './shared-fills.ts';
import { deepFreeze, estimateBytes } from './size.ts';

export interface Asked {
  readonly key: string;
  readonly policy: CachePolicy;
  readonly tags: readonly string[];
  readonly load: Load<unknown>;
  /** What the value must reflect for this reader. */
  readonly need: Mark;
}

export interface FlightsOptions {
  readonly kept: Kept;
  readonly counts: MutableCounts;
  readonly settings: CacheSettings;
  readonly scope: object;
  readonly shared: SharedFills | undefined;
  readonly readers: Readers;
}

/**
 * The loads of this process: one for each key at a time. Who comes after an invalidation never joins a load that
 * began before it; a load that comes too late is not kept, and still answers those who began before.
 */
export class Flights {
  readonly #kept: Kept;
  readonly #counts: MutableCounts;
  readonly #settings: CacheSettings;
  readonly #scope: object;
  readonly #shared: SharedFills | undefined;
  readonly #readers: Readers;
  readonly #byKey = new Map<string, Flight>();
  readonly #failures = new Failures();
  // Numbers them.
  #begun = 0;

  constructor({ kept, counts, settings, scope, shared, readers }: FlightsOptions) {
    this.#kept = kept;
    this.#counts = counts;
    this.#settings = settings;
    this.#scope = scope;
    this.#shared = shared;
    this.#readers = readers;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** `stale` is answered where nothing better comes in time. */
  load(asked: Asked, stale: Entry | undefined, context: RequestContext | undefined): Promise<unknown> {
    const { key, need } = asked;
    const failure = this.#failures.find(key, this.#nowMs());
    if (failure !== undefined) {
      if (this.#mayAnswer(stale, need)) return this.#answerStale(stale, 'process', this.#nowMs(), context);
      this.tell('loader', 'error', 0);
      return Promise.reject(failure.error as Error);
    }
    const joined = this.#joinable(key, need);
    if (joined !== undefined) this.#counts.joined += 1;
    return this.#wait(joined ?? this.#begin(asked, 0), need, stale, context);
  }

  /** In the background; `entry` is answered meanwhile. */
  refresh(asked: Asked, entry: Entry): void {
    const nowMs = this.#nowMs();
    if (this.#joinable(asked.key, noMark) !== undefined) return;
    if (this.#failures.find(asked.key, nowMs) !== undefined) return;
    this.#begin({ ...asked, need: entry.mark }, entry.freshUntilMs - nowMs);
  }

  /** Nobody joins it. To be ended with `close`. */
  open(asked: Pick<Asked, 'key' | 'policy' | 'tags' | 'need'>): Flight {
    this.#begun += 1;
    const token = this.#kept.table.take(asked.key, asked.tags);
    return new Flight({ ...asked, number: this.#begun, token, clock: this.#settings.clock });
  }

  close(flight: Flight): void {
    flight.end();
    this.#kept.table.release(flight.token);
  }

  /** What a write has left, with the versions that its own invalidation has made; who calls knows nobody else did. */
  keepWritten(flight: Flight, value: unknown, costMs: number, versions: readonly string[] | undefined): void {
    this.#failures.forget(flight.key);
    const { policy } = flight;
    const freshMs = policy.freshMs(value, this.#settings.random);
    this.#put(flight, value, freshMs, costMs, this.#kept.table.stampOf(flight.token.tags));
    if (versions !== undefined) void this.#shared?.fill(flight, versions, value, freshMs, costMs);
  }

  tell(tier: CacheReadMessage['tier'], outcome: CacheReadMessage['outcome'], durationMs: number): void {
    if (!cacheReads.hasSubscribers) return;
    cacheReads.publish({ scope: this.#scope, name: this.#settings.name, tier, outcome, durationMs });
  }

  #nowMs(): number {
    return this.#settings.clock.monotonicMs();
  }

  #joinable(key: string, need: Mark): Flight | undefined {
    const flight = this.#byKey.get(key);
    if (flight === undefined || flight.atLeast < need) return undefined;
    return this.#kept.table.changesSince(flight.token) === 0 ? flight : undefined;
  }

  /** `freshForMs` is what the value that is kept here still has. */
  #begin(asked: Asked, freshForMs: number): Flight {
    const flight = this.open(asked);
    this.#byKey.set(asked.key, flight);
    flight.outcome = this.#fly(flight, asked.load, freshForMs);
    void flight.until(asked.policy.options.abandonMs).then(() => {
      if (flight.result === undefined) this.#abandon(flight);
    });
    return flight;
  }

  async #fly(flight: Flight, load: Load<unknown>, freshForMs: number): Promise<Outcome> {
    const outcome = await this.#bring(flight, load, freshForMs).then(
      (value): Outcome => ({ kind: 'value', value }),
      (error: unknown): Outcome => ({ kind: 'failed', error }),
    );
    flight.result ??= outcome;
    if (this.#byKey.get(flight.key) === flight) {
      this.#byKey.delete(flight.key);
      if (outcome.kind === 'failed') {
        const forMs = flight.failedForMs ?? flight.policy.failedForMs(this.#settings.random);
        this.#failures.note(flight.key, outcome.error, this.#nowMs(), forMs);
      } else this.#failures.forget(flight.key);
    }
    this.close(flight);
    return flight.result;
  }

  /** The value, from the shared tier or the loader. */
  async #bring(flight: Flight, load: Load<unknown>, freshForMs: number): Promise<unknown> {
    const { policy } = flight;
    const shared = policy.options.shared ? this.#shared : undefined;
    const found = await shared?.find(flight, freshForMs, (stale) => {
      flight.shown = stale.shown;
      flight.fallback = this.#entryOf(flight, stale.value, stale.of.freshForMs, stale.of.costMs);
      flight.shown = undefined;
    });
    if (found?.fresh !== undefined) {
      this.#counts.sharedHits += 1;
      flight.from = 'shared';
      return this.#adopt(flight, found.fresh);
    }
    const startedMs = this.#nowMs();
    this.#counts.loads += 1;
    let value: unknown;
    try {
      flight.atLeast = laterMark(flight.atLeast, found?.answer.floor ?? this.#kept.floor);
      if (found?.answer.leased === true) void shared?.keepLease(flight);
      value = await runLoad(flight, load, this.#readers);
    } catch (error) {
      this.#counts.loadFailures += 1;
      flight.failedForMs = policy.failedForMs(this.#settings.random);
      if (found !== undefined) shared?.release(flight, flight.failedForMs);
      throw error;
    }
    const costMs = this.#nowMs() - startedMs;
    const mayKeep = value !== undefined && !flight.isBehind && flight.result === undefined;
    if (mayKeep && this.#kept.table.changesSince(flight.token) === 0) {
      const freshMs = policy.freshMs(value, this.#settings.random);
      const entry = this.#put(flight, value, freshMs, costMs);
      if (found !== undefined) void this.#fillShared(flight, found.answer.versions, entry, freshMs, costMs);
    } else {
      if (mayKeep) this.#counts.rejectedFills += 1;
      if (found !== undefined) shared?.release(flight);
    }
    return value;
  }

  async #fillShared(
    flight: Flight,
    versions: readonly string[],
    entry: Entry,
    freshMs: number,
    costMs: number,
  ): Promise<void> {
    const inTime = await this.#shared?.fill(flight, versions, entry.value, freshMs, costMs);
    if (inTime !== false) return;
    // It was invalidated elsewhere, and we have yet to be told.
    this.#counts.rejectedFills += 1;
    this.#kept.entries.delete(entry);
  }

  #adopt(flight: Flight, { value, of, shown }: Found): unknown {
    flight.shown = shown;
    flight.reflected = laterMark(flight.reflected ?? noMark, of.mark);
    if (this.#kept.table.changesSince(flight.token) === 0) this.#put(flight, value, of.freshForMs, of.costMs);
    return value;
  }

  #put(flight: Flight, value: unknown, freshMs: number, costMs: number, stamp?: number): Entry {
    const entry = this.#entryOf(flight, value, freshMs, costMs, stamp);
    flight.entry = entry;
    flight.sequence = this.#kept.table.sequence;
    if (entry.bytes <= flight.policy.options.maxBytes) this.#kept.put(entry);
    return entry;
  }

  /** With the versions that the flight began with, unless others are given. */
  #entryOf(flight: Flight, value: unknown, freshMs: number, costMs: number, stamp?: number): Entry {
    const { key, policy, token, number } = flight;
    if (this.#settings.freeze) deepFreeze(value);
    return new Entry({
      key,
      value,
      policy,
      slots: token.tags,
      stamp: stamp ?? token.stamp - token.keyVersion,
      mark: flight.mark,
      shown: flight.shown,
      bytes: estimateBytes(value) + key.length * 2,
      flight: number,
      freshUntilMs: this.#nowMs() + freshMs,
      earlyMs: policy.earlyMs(costMs, this.#settings.random),
    });
  }

  async #wait(
    flight: Flight,
    need: Mark,
    stale: Entry | undefined,
    context: RequestContext | undefined,
  ): Promise<unknown> {
    const { softTimeoutMs, hardTimeoutMs } = flight.policy.options;
    const startedMs = this.#nowMs();
    const gone = goneWith(context, flight.key);
    const fallback = (): Entry | undefined =>
      [stale, flight.fallback].find((entry) => this.#mayAnswer(entry, need));
    try {
      let outcome: Outcome = late;
      if (softTimeoutMs < hardTimeoutMs) outcome = await flight.within(softTimeoutMs, gone?.promise);
      const early = outcome.kind === 'late' ? fallback() : undefined;
      if (early !== undefined) return await this.#answerStale(early, 'process', startedMs, context);
      if (outcome.kind === 'late') outcome = await flight.within(hardTimeoutMs, gone?.promise);
      if (outcome.kind === 'value') return this.#answer(flight, outcome.value, need, startedMs, context);
      if (outcome.kind === 'gone') throw outcome.error;
      const instead = fallback();
      if (instead !== undefined) return await this.#answerStale(instead, 'process', startedMs, context);
      this.tell('loader', 'error', this.#nowMs() - startedMs);
      throw outcome.kind === 'failed' ? outcome.error : this.#tooLate(flight);
    } finally {
      gone?.stop();
    }
  }

  #answer(
    flight: Flight,
    value: unknown,
    need: Mark,
    startedMs: number,
    context: RequestContext | undefined,
  ): unknown {
    if (flight.isBehind && (flight.reflected ?? noMark) < need) throw this.#behind(flight, need);
    if (context !== undefined) {
      this.#readers.note(context.seen, flight.shown, flight.token.tags);
      if (flight.entry !== undefined) this.#kept.remember(context.seen, flight.entry, flight.sequence);
    }
    this.tell(flight.from, flight.from === 'shared' ? 'hit' : 'loaded', this.#nowMs() - startedMs);
    return value;
  }

  #answerStale(
    entry: Entry,
    tier: CacheReadMessage['tier'],
    startedMs: number,
    context: RequestContext | undefined,
  ): Promise<unknown> {
    this.#counts.stale += 1;
    if (context !== undefined) this.#readers.note(context.seen, entry.shown, entry.slots);
    this.tell(tier, 'stale', this.#nowMs() - startedMs);
    return entry.answer;
  }

  /** Stale, and still what nobody has invalidated. */
  #mayAnswer(entry: Entry | undefined, need: Mark): entry is Entry {
    return (
      entry !== undefined &&
      entry.mark >= need &&
      this.#nowMs() < entry.keptUntilMs &&
      this.#kept.table.isCurrent(entry)
    );
  }

  /** The next one who asks may load again; what this one brings is not kept. */
  #abandon(flight: Flight): void {
    const error = this.#tooLate(flight);
    this.#counts.abandoned += 1;
    flight.result = { kind: 'failed', error };
    if (this.#byKey.get(flight.key) === flight) this.#byKey.delete(flight.key);
    flight.abandon(error);
    const what = `cache ${this.#settings.name}: the load of ${JSON.stringify(flight.key)} was given up`;
    background.publish({ scope: this.#scope, what, error });
  }

  #tooLate({ key, startedMs, policy }: Flight): PlimsollError {
    const tookMs = Math.round(this.#nowMs() - startedMs);
    return new PlimsollError(
      'PL_TIMEOUT',
      `cache ${this.#settings.name}: ${JSON.stringify(key)} was not loaded within ${policy.options.hardTimeoutMs} ms; the load is under way for ${tookMs} ms and goes on`,
      { data: { key, hardTimeoutMs: policy.options.hardTimeoutMs } },
    );
  }

  #behind({ key, reflected }: Flight, need: Mark): PlimsollError {
    const [got, wanted] = [positionOf(reflected ?? noMark), positionOf(need)].map(
      (position) => `${position?.epoch} ${position?.lsn}`,
    );
    return new PlimsollError(
      'PL_CACHE_BEHIND',
      `cache ${this.#settings.name}: the loader of ${JSON.stringify(key)} read at ${got}, and its reader has written at ${wanted}; read at or past atLeast, or the primary`,
      { data: { key } },
    );
  }
}
