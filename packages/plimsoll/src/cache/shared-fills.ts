import { randomUUID } from 'node:crypto';
import { background } from '../kernel/channels.ts';
import { PlimsollError } from '../kernel/errors.ts';
import type { Flight } from './flight.ts';
import { markOf, noMark, positionOf, type Position } from './position.ts';
import type { CacheSettings } from './options.ts';
import type { Readers } from './readers.ts';
import type { SharedAnswer, SharedValue } from './shared-store.ts';
import type { SharedTier } from './shared-tier.ts';

/** How long before the shared tier is asked again whether another process has loaded: a tenth of the wait until then. */
const pollMs = { least: 20, most: 200 } as const;
/** A failure is remembered there for an hour at most. */
const mostFailedMs = 3_600_000;
/** What was refreshed since this process kept it counts as news. */
const slackMs = 20;

/** A value of the shared tier, as it was before it became text. */
export interface Found {
  readonly value: unknown;
  /** The latest that it may show. */
  readonly shown: Position | undefined;
  readonly of: SharedValue;
}

/** The flights of this process beside those of the others: one of all loads, the others wait for what it brings. */
export class SharedFills {
  readonly tier: SharedTier;
  readonly #settings: CacheSettings;
  readonly #scope: object;
  readonly #readers: Readers;
  readonly #owner = randomUUID();
  #rejected = 0;

  constructor(tier: SharedTier, settings: CacheSettings, scope: object, readers: Readers) {
    this.tier = tier;
    this.#settings = settings;
    this.#scope = scope;
    this.#readers = readers;
  }

  /** Fills that came too late, by what the store knew. */
  get rejected(): number {
    return this.#rejected;
  }

  /**
   * A fresh value; or what a fill has to give back, when it is for this process to load. `belowMs` is how long the
   * value that is kept here is fresh: only what is fresh for longer is news. Undefined: load without it. Waits for as
   * long as another process loads; rejects when that has failed, or when the flight was given up.
   */
  async find(
    flight: Flight,
    belowMs: number,
    onStale: (found: Found) => void,
  ): Promise<{ readonly fresh?: Found; readonly answer: SharedAnswer } | undefined> {
    const { clock } = this.#settings;
    const { key, tags, policy, atLeast } = flight;
    const { ttlMs, abandonMs } = policy.options;
    const threshold = belowMs > 0 ? belowMs + slackMs : 0;
    for (;;) {
      const answer = await this.tier.read({
        key,
        tags,
        atLeast,
        keepMs: ttlMs + policy.graceMs + abandonMs,
        lease: { owner: this.#ownerOf(flight), forMs: this.#leaseMsOf(flight), belowMs: threshold },
      });
      if (answer === undefined) return undefined;
      const found = answer.value === undefined ? undefined : this.#decode(answer.value);
      if (found !== undefined && found.of.freshForMs > threshold) return { fresh: found, answer };
      if (found !== undefined && found.of.freshForMs <= 0) onStale(found);
      if (answer.leased) return { answer };
      if (answer.failedForMs > 0) throw this.#failedElsewhere(flight, answer.failedForMs);
      // Somebody else refreshes what is still good here.
      if (found !== undefined && found.of.freshForMs > 0) return { fresh: found, answer };
      const waitedMs = clock.monotonicMs() - flight.startedMs;
      await clock.sleep(Math.min(Math.max(pollMs.least, waitedMs / 10), pollMs.most), flight.signal);
      if (flight.result?.kind === 'failed') throw flight.result.error;
    }
  }

  /** While the flight is under way, nobody else gets the right to load. When this process dies, that ends by itself. */
  async keepLease(flight: Flight): Promise<void> {
    const { clock } = this.#settings;
    const forMs = this.#leaseMsOf(flight);
    for (;;) {
      await flight.until(clock.monotonicMs() - flight.startedMs + forMs / 3);
      if (flight.result !== undefined) return;
      if ((await this.tier.renew(flight.key, this.#ownerOf(flight), forMs)) === false) return;
    }
  }

  /** False when it came too late, by what the store knew. */
  async fill(
    flight: Flight,
    versions: readonly string[],
    value: unknown,
    freshMs: number,
    costMs: number,
  ): Promise<boolean> {
    const { key, tags, policy } = flight;
    const data = this.#encode(flight, value);
    if (data === undefined) {
      await this.tier.release(key, this.#ownerOf(flight));
      return true;
    }
    const kept = await this.tier.fill({
      key,
      tags,
      versions,
      data,
      mark: flight.mark,
      freshMs,
      keepMs: freshMs + policy.graceMs,
      costMs,
      owner: this.#ownerOf(flight),
    });
    if (kept === false) this.#rejected += 1;
    return kept !== false;
  }

  /** Before a write: what the fill after it builds on. */
  async versionsOf(flight: Flight): Promise<readonly string[] | undefined> {
    const { ttlMs, abandonMs } = flight.policy.options;
    const keepMs = ttlMs + flight.policy.graceMs + abandonMs;
    const answer = await this.tier.read({ key: flight.key, tags: flight.tags, atLeast: noMark, keepMs });
    return answer?.versions;
  }

  /** `failedForMs`: the load failed, and nobody is to try again for so long. */
  release(flight: Flight, failedForMs = 0): void {
    void this.tier.release(flight.key, this.#ownerOf(flight), Math.min(failedForMs, mostFailedMs));
  }

  #leaseMsOf({ policy }: Flight): number {
    return Math.min(this.#settings.leaseMs, policy.options.hardTimeoutMs);
  }

  #failedElsewhere(flight: Flight, forMs: number): PlimsollError {
    flight.failedForMs = forMs;
    return new PlimsollError(
      'PL_CACHE_LOAD_FAILED',
      `cache ${this.#settings.name}: another process could not load ${JSON.stringify(flight.key)} a moment ago; nobody tries again for ${Math.ceil(forMs)} ms`,
      { data: { key: flight.key, failedForMs: forMs } },
    );
  }

  #ownerOf(flight: Flight): string {
    return `${this.#owner}:${flight.number}`;
  }

  #decode(of: SharedValue): Found | undefined {
    try {
      const end = of.data.indexOf('\n');
      const value = this.#settings.serialiser.decode(of.data.slice(end + 1));
      const [mark = noMark, database] = of.data.slice(0, end).split(' ', 2);
      if (database !== undefined) this.#readers.learn(decodeURIComponent(database));
      return { value, shown: positionOf(mark), of };
    } catch (error) {
      this.#report('a value of the shared tier cannot be read', error);
      return undefined;
    }
  }

  /** What it may show, and the value; undefined for one that is not kept. */
  #encode({ key, shown, policy }: Flight, value: unknown): string | undefined {
    try {
      const data = this.#settings.serialiser.encode(value);
      const head =
        shown === undefined ? '' : `${markOf(shown)} ${encodeURIComponent(this.#readers.database)}`;
      return data.length > policy.options.maxBytes ? undefined : `${head}\n${data}`;
    } catch (error) {
      this.#report(`the value of ${JSON.stringify(key)} cannot be made text`, error);
      return undefined;
    }
  }

  #report(what: string, error: unknown): void {
    background.publish({ scope: this.#scope, what: `cache ${this.#settings.name}: ${what}`, error });
  }
}
