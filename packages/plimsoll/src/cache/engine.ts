import { randomUUID } from 'node:crypto';
import { background, cacheReads } from '../kernel/channels.ts';
import type { Clock } from '../kernel/clock.ts';
import { currentContext, type RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { createLifecycle, type Lifecycle } from '../kernel/lifecycle.ts';
import { settleSoon } from '../kernel/settle-seen.ts';
import type { BusConnection, BusMessage } from './bus.ts';
import type { Cache, CacheState, CacheView, Invalidating, LoadingOptions, Writing } from './cache.ts';
import { CoarseClock } from './coarse-clock.ts';
import { noCounts } from './counts.ts';
import type { Entry } from './entry.ts';
import { Flights, type Asked } from './flights.ts';
import { Heard } from './heard.ts';
import { Kept } from './kept.ts';
import type { CacheSettings } from './options.ts';
import { policyFrom, type CachePolicy, type CachePolicyOptions, type Load, type Tags } from './policy.ts';
import { markOf, noMark, type Position } from './position.ts';
import { Readers } from './readers.ts';
import { Sampler } from './sampler.ts';
import { SharedFills } from './shared-fills.ts';
import { nextVersion, type SharedInvalidation } from './shared-store.ts';
import { SharedTier } from './shared-tier.ts';
import type { InvalidationTruth } from './truth.ts';

type Given = CachePolicy | (CachePolicyOptions & { readonly load?: Load<unknown> });

export class CacheEngine implements Cache {
  readonly name: string;
  readonly #settings: CacheSettings;
  readonly #scope: object;
  readonly #clock: Clock;
  readonly #coarse: CoarseClock;
  readonly #kept: Kept;
  readonly #flights: Flights;
  readonly #readers: Readers;
  readonly #through: Heard | undefined;
  readonly #counts = noCounts();
  readonly #shared: SharedFills | undefined;
  readonly #sampler: Sampler | undefined;
  readonly #bus: BusConnection | undefined;
  readonly lifecycle: Lifecycle;
  /** What the bus knows this cache by: what it sent itself it has done already. */
  readonly #id = randomUUID();

  constructor(settings: CacheSettings) {
    const { name, clock, process: limits, shared, bus, serialiser, version } = settings;
    this.name = name;
    this.#settings = settings;
    this.#scope = settings.scope ?? this;
    this.#clock = clock;
    this.#coarse = new CoarseClock(clock);
    // With nothing to keep there is nothing to distrust.
    this.#kept = new Kept(limits || { maxEntries: 0, maxBytes: 0 }, bus === undefined);
    this.#bus = bus?.open({
      name,
      clock,
      scope: this.#scope,
      onMessage: (message) => this.#heard(message),
      onTrust: (trusted, floor) => {
        this.#kept.trust(trusted, floor);
        this.#through?.distrust();
        if (trusted) this.#through?.begin();
      },
    });
    if (settings.truth !== undefined) this.#through = this.#openHeard(settings.truth);
    this.#readers = new Readers({
      database: settings.database,
      table: this.#kept.table,
      coarse: this.#coarse,
      lateMs: this.#bus?.silentMs,
      heard: this.#through,
    });
    if (shared !== undefined) {
      const table = shared.open({ name: `${name}:${serialiser.name}${version}`, clock, scope: this.#scope });
      const { sharedSoftMs: softMs, sharedHardMs: hardMs } = settings;
      const tier = new SharedTier({ table, name, clock, scope: this.#scope, softMs, hardMs });
      this.#shared = new SharedFills(tier, settings, this.#scope, this.#readers);
    }
    this.#flights = new Flights({
      readers: this.#readers,
      kept: this.#kept,
      counts: this.#counts,
      settings,
      scope: this.#scope,
      shared: this.#shared,
    });
    if (settings.sampleEvery > 0) this.#sampler = new Sampler(this.#kept, this.#counts, settings);
    this.lifecycle = createLifecycle({
      name: `cache ${name}`,
      start: async () => {
        await this.#bus?.start();
        await this.#through?.begun();
      },
      stop: async () => await this.#bus?.stop(),
    });
  }

  get<V>(key: string, policy: Given, load: Load<V>, tags?: () => Tags): Promise<V>;
  get<V>(key: string, options: LoadingOptions<V>): Promise<V>;
  get(key: string, given: Given, load?: Load<unknown>, tags?: () => Tags): Promise<never> {
    const entry = this.#hit(key);
    if (entry === undefined) return this.#lookUp(key, given, load, tags) as Promise<never>;
    if (this.#sampler !== undefined) this.#sampler.hit(entry, load ?? loadOf(given));
    return entry.answer as Promise<never>;
  }

  peek(key: string): unknown {
    return this.#hit(key)?.value;
  }

  /** What nearly every hit is: fresh, not to be refreshed yet, and good for this reader whatever its tags. */
  #hit(key: string): Entry | undefined {
    const kept = this.#kept;
    const entry = kept.entries.get(key);
    if (entry === undefined || this.#coarse.tick() >= entry.quietUntilTick || !kept.table.isCurrent(entry))
      return undefined;
    const context = currentContext();
    if (context !== undefined) {
      if (!this.#readers.takesAnything(context)) return undefined;
      this.#readers.note(context.seen, entry.shown, entry.slots);
    }
    if (!entry.visited) entry.visited = true;
    this.#counts.processHits += 1;
    if (cacheReads.hasSubscribers) this.#flights.tell('process', 'hit', 0);
    return entry;
  }

  async write<V>(
    key: string,
    given: CachePolicy | CachePolicyOptions,
    write: (writing: Writing) => Promise<V>,
  ): Promise<V> {
    const policy = policyFrom(given);
    const tags = policy.tagsOf(key);
    // Its versions are taken before the write, here and in the shared tier.
    const flight = this.#flights.open({ key, policy, tags, need: noMark });
    const changed = { keys: [key], tags, everything: false };
    try {
      const versions = policy.options.shared ? await this.#shared?.versionsOf(flight) : undefined;
      let written: Position | undefined;
      const startedMs = this.#clock.monotonicMs();
      let value: V;
      try {
        value = await write({ reflect: (position) => void (written = position) });
      } catch (error) {
        // It may have been committed all the same.
        await this.#invalidate({ ...changed, floor: noMark });
        throw error;
      }
      const position = this.#readers.positionOf(tags, written);
      const floor = position === undefined ? noMark : markOf(position);
      flight.reflected = floor;
      flight.shown = position;
      await this.#invalidate({ ...changed, floor });
      const own = 1 + tags.length;
      if (value !== undefined && this.#kept.table.changesSince(flight.token) === own) {
        // In the shared tier the first version is of everything, which a write leaves alone.
        const next = versions?.map((version, at) => (at === 0 ? version : nextVersion(version)));
        this.#flights.keepWritten(flight, value, this.#clock.monotonicMs() - startedMs, next);
      }
      return value;
    } finally {
      this.#flights.close(flight);
    }
  }

  async invalidate({ tags = [], keys = [], at, row }: Invalidating): Promise<boolean> {
    const position = this.#readers.positionOf(tags, at);
    const floor = position === undefined ? noMark : markOf(position);
    const invalidation = { keys: [...new Set(keys)], tags: [...new Set(tags)], everything: false, floor };
    return await this.#invalidate(invalidation, position === undefined ? undefined : row);
  }

  async clear(): Promise<boolean> {
    return await this.#invalidate({ keys: [], tags: [], everything: true, floor: noMark });
  }

  namespace(name: string): CacheView {
    const prefix = `${name}:`;
    return {
      get: (key: string, given: Given, load?: Load<unknown>, tags?: () => Tags) =>
        this.get(prefix + key, given, load as Load<never>, tags),
      peek: (key) => this.peek(prefix + key),
      write: (key, policy, write) => this.write(prefix + key, policy, write),
      invalidate: ({ keys = [], ...rest }) =>
        this.invalidate({ ...rest, keys: keys.map((key) => prefix + key) }),
    };
  }

  state(): CacheState {
    const { entries, table, trusted } = this.#kept;
    const { size, bytes, evicted } = entries;
    const shared = this.#shared;
    return {
      ...this.#counts,
      name: this.name,
      entries: size,
      bytes,
      evicted,
      flights: this.#flights.size,
      slots: table.size,
      trusted,
      shared:
        shared === undefined
          ? undefined
          : {
              health: shared.tier.health,
              failures: shared.tier.failures,
              timeouts: shared.tier.timeouts,
              pending: shared.tier.pending,
              rejected: shared.rejected,
            },
    };
  }

  start = (): Promise<void> => this.lifecycle.start();
  stop = (): Promise<void> => this.lifecycle.stop();
  [Symbol.asyncDispose] = (): Promise<void> => this.lifecycle.stop();

  #lookUp(
    key: string,
    given: Given,
    loadGiven: Load<unknown> | undefined,
    ownTags: (() => Tags) | undefined,
  ): Promise<unknown> {
    let asked: Asked;
    try {
      asked = this.#asked(key, given, loadGiven, ownTags);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    const { policy, tags, load } = asked;
    const context = currentContext();
    const { mustLoad, need, unheard } = this.#readers.readerOf(context, tags, policy.options.inCommands);
    if (mustLoad) return this.#bypass(key, load);
    if (context !== undefined && this.#readers.owes(context.seen)) return this.#whenSettled(asked, context);
    if (unheard !== undefined) return this.#whenHeard({ ...asked, need }, unheard, context);
    return this.#find({ ...asked, need }, context);
  }

  async #whenSettled(asked: Asked, context: RequestContext): Promise<unknown> {
    await settleSoon(context.seen);
    const { mustLoad, need, unheard } = this.#readers.readerOf(
      context,
      asked.tags,
      asked.policy.options.inCommands,
    );
    if (mustLoad || this.#readers.owes(context.seen)) return await this.#bypass(asked.key, asked.load);
    if (unheard !== undefined) return await this.#whenHeard({ ...asked, need }, unheard, context);
    return await this.#find({ ...asked, need }, context);
  }

  /**
   * Where it is not known in time what was invalidated, nothing that is kept will do, and nothing is: the position that he
   * has seen may be past a commit that the primary does not show yet.
   */
  async #whenHeard(asked: Asked, unheard: Position, context: RequestContext | undefined): Promise<unknown> {
    // While nothing would be told, nothing can be known to have been.
    const isHeard = this.#kept.trusted && (await this.#through?.reach(unheard)) === true;
    if (isHeard) return await this.#find(asked, context);
    this.#counts.unheard += 1;
    return await this.#bypass(asked.key, asked.load);
  }

  #find(asked: Asked, context: RequestContext | undefined): Promise<unknown> {
    const { key, need } = asked;
    const found = this.#kept.find(key, context?.seen);
    const entry = found === undefined || found.entry.mark < need ? undefined : found.entry;
    if (found !== undefined && entry !== undefined) {
      const nowMs = this.#clock.monotonicMs();
      const isFresh = nowMs < entry.freshUntilMs;
      if (isFresh || nowMs < entry.staleUntilMs) {
        entry.visited = true;
        if (context !== undefined) this.#readers.note(context.seen, entry.shown, entry.slots);
        if (!isFresh || entry.isDue(nowMs)) this.#flights.refresh(asked, entry);
        if (!isFresh) this.#counts.stale += 1;
        else if (found.tier === 'memo') this.#counts.memoHits += 1;
        else this.#counts.processHits += 1;
        this.#flights.tell(found.tier, isFresh ? 'hit' : 'stale', 0);
        return entry.answer;
      }
    }
    return this.#flights.load(asked, entry, context);
  }

  #asked(
    key: string,
    given: Given,
    loadGiven: Load<unknown> | undefined,
    ownTags: (() => Tags) | undefined,
  ): Asked {
    const policy = policyFrom(given);
    const load = loadGiven ?? loadOf(given);
    if (load === undefined)
      throw new PlimsollError(
        'PL_CONFIG',
        `cache ${this.name}: get(${JSON.stringify(key)}) was given no load`,
      );
    return { key, policy, tags: policy.tagsOf(key, ownTags?.()), load, need: noMark };
  }

  /** In the context of the caller, whose transaction it may read: nobody else is answered with it, and nothing kept. */
  async #bypass(key: string, load: Load<unknown>): Promise<unknown> {
    this.#counts.bypassed += 1;
    const { signal } = new AbortController();
    const value = await load({ key, signal, atLeast: undefined, reflect: () => undefined });
    this.#flights.tell('loader', 'loaded', 0);
    return value;
  }

  /**
   * First here, so that nothing older is answered; then in the shared tier, which is not read here for these tags until
   * that is done; then the others, who would otherwise fill from it what it had before.
   */
  async #invalidate(invalidation: SharedInvalidation, row?: string): Promise<boolean> {
    this.#kept.invalidate(invalidation, this.#coarse.tick());
    // From now on the shared tier is not read for these either.
    if (row !== undefined) this.#through?.note(row);
    const told = this.#shared === undefined || (await this.#shared.tier.invalidate(invalidation));
    const message = {
      ...invalidation,
      from: this.#id,
      sharedPending: !told,
      ...(row === undefined ? {} : { row }),
    };
    const sent = this.#bus === undefined || (await this.#publish(message));
    return told && sent;
  }

  /** False when it takes longer than the shared tier may; the bus goes on trying. */
  async #publish(message: BusMessage): Promise<boolean> {
    const waited = new AbortController();
    const published = this.#bus?.publish(message).then(
      () => true,
      (error: unknown) => {
        background.publish({ scope: this.#scope, what: `bus of the cache ${this.name}`, error });
        return false;
      },
    );
    const late = this.#clock.sleep(this.#settings.sharedHardMs, waited.signal).then(() => false);
    const sent = await Promise.race([published, late]);
    waited.abort();
    return sent ?? true;
  }

  #heard(message: BusMessage): void {
    if (message.from === this.#id) return;
    const { row, sharedPending } = message;
    if (row === undefined || this.#through?.knows(row) !== true)
      this.#kept.invalidate(message, this.#coarse.tick());
    if (sharedPending) void this.#shared?.tier.invalidate(message);
    if (row !== undefined) this.#through?.note(row);
  }

  #openHeard(truth: InvalidationTruth): Heard {
    const { name, clock, sharedSoftMs: softMs, sharedHardMs: hardMs } = this.#settings;
    return new Heard({
      truth,
      name,
      clock,
      scope: this.#scope,
      counts: this.#counts,
      softMs,
      hardMs,
      apply: ({ keys, tags }, at) => {
        const floor = at === undefined ? noMark : markOf(at);
        const invalidation = { keys, tags, everything: false, floor };
        this.#kept.invalidate(invalidation, this.#coarse.tick());
        // Until it is done, the shared tier is not read here for these.
        void this.#shared?.tier.invalidate(invalidation);
      },
      catchUp: () => this.#bus?.catchUp() ?? Promise.resolve(true),
      endHistory: () => this.clear(),
      beginAt: (at) => {
        const everything = { keys: [], tags: [], everything: true, floor: markOf(at) };
        this.#kept.invalidate(everything, this.#coarse.tick());
      },
    });
  }
}

const loadOf = (given: Given): Load<unknown> | undefined => ('load' in given ? given.load : undefined);
