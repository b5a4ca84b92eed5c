import { createBreaker, type Breaker } from '../breaker/breaker.ts';
import type { Permit } from '../breaker/permit.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { contextWatch, createContextWatch, type ContextWatch } from '../kernel/context-watch.ts';
import { PendingInvalidations, type Remembered } from './pending.ts';
import type { SharedAnswer, SharedAsk, SharedFill, SharedInvalidation, SharedTable } from './shared-store.ts';

export interface SharedTierOptions {
  readonly table: SharedTable;
  readonly name: string;
  readonly clock: Clock;
  readonly scope: object;
  /** How long a request waits for it. */
  readonly softMs: number;
  /** After this an operation has failed. */
  readonly hardMs: number;
}

/** How often what it could not be told is tried, and how long a break of its breaker is. */
const retryMs = 500;

/**
 * The shared tier as requests see it: an answer in time, or none. An invalidation that it could not be told is
 * tried until it is, and what it holds of those keys and tags is not read meanwhile.
 */
export class SharedTier {
  readonly #options: SharedTierOptions;
  readonly #watch: ContextWatch;
  readonly #breaker: Breaker;
  readonly #pending = new PendingInvalidations();
  #retrying = false;
  #failures = 0;
  #timeouts = 0;

  constructor(options: SharedTierOptions) {
    const { clock, name, scope } = options;
    this.#options = options;
    this.#watch = clock === systemClock ? contextWatch : createContextWatch(clock);
    this.#breaker = createBreaker({
      name: `shared tier of the cache ${name}`,
      consecutiveFailures: 3,
      minimumCalls: 10,
      breakMs: retryMs,
      maxBreakMs: 2 * retryMs,
      probeMaxMs: 2 * options.hardMs,
      rampMs: 0,
      classify: () => 'failure',
      clock,
      scope,
    });
  }

  get health(): 'up' | 'down' {
    return this.#breaker.state().state === 'closed' ? 'up' : 'down';
  }
  get failures(): number {
    return this.#failures;
  }
  /** Answers that came after `softMs`, or not at all. */
  get timeouts(): number {
    return this.#timeouts;
  }
  get pending(): number {
    return this.#pending.size;
  }

  /** Undefined when it gave no answer in time, or must not be read. */
  read(ask: SharedAsk): Promise<SharedAnswer | undefined> {
    if (this.#pending.has(ask.key, ask.tags)) return Promise.resolve(undefined);
    const { table, softMs } = this.#options;
    return this.#attempt(
      () => table.read(ask),
      softMs,
      // Nobody will fill for it.
      (late) => void (late.leased && this.release(ask.key, ask.lease?.owner ?? '')),
    );
  }

  /** Undefined when it gave no answer. */
  fill(fill: SharedFill): Promise<boolean | undefined> {
    if (this.#pending.has(fill.key, fill.tags)) return Promise.resolve(undefined);
    return this.#attempt(() => this.#options.table.fill(fill), this.#options.hardMs);
  }

  /** Undefined when it gave no answer. */
  renew(key: string, owner: string, forMs: number): Promise<boolean | undefined> {
    return this.#attempt(() => this.#options.table.renew(key, owner, forMs), this.#options.hardMs);
  }

  async release(key: string, owner: string, failedForMs = 0): Promise<void> {
    await this.#attempt(() => this.#options.table.release(key, owner, failedForMs), this.#options.hardMs);
  }

  /** False when it could not be told in time; then it will be. */
  async invalidate(invalidation: SharedInvalidation): Promise<boolean> {
    // Until it is known to have landed, nothing of it may be read here.
    const remembered = this.#pending.add(invalidation);
    if (!this.#retrying && (await this.#land([invalidation], remembered))) return true;
    this.#retryLater();
    return false;
  }

  /** Never rejects. */
  async #land(invalidations: readonly SharedInvalidation[], remembered: Remembered): Promise<boolean> {
    const landed = await Promise.all(
      invalidations.map((each) =>
        this.#attempt(async () => {
          await this.#options.table.invalidate(each);
          return true;
        }, this.#options.hardMs),
      ),
    );
    if (landed.includes(undefined)) return false;
    this.#pending.landed(remembered);
    return true;
  }

  /** One timer, whatever the number of those that wait; it keeps no process alive. */
  #retryLater(): void {
    if (this.#retrying) return;
    this.#retrying = true;
    this.#watch.watchDeadline(this.#options.clock.monotonicMs() + retryMs, () => {
      const { invalidations, remembered } = this.#pending.all();
      void this.#land(invalidations, remembered).then((landed) => {
        this.#retrying = false;
        if (!landed || this.#pending.size > 0) this.#retryLater();
      });
    });
  }

  /** Undefined when it fails, is refused, or takes longer than `waitMs`; it may still come to something then. */
  #attempt<T>(
    operation: () => Promise<T>,
    waitMs: number,
    onLate?: (answer: T) => void,
  ): Promise<T | undefined> {
    let permit: Permit;
    try {
      permit = this.#breaker.acquire();
    } catch {
      return Promise.resolve(undefined);
    }
    const { clock, hardMs } = this.#options;
    const { promise, resolve } = Promise.withResolvers<T | undefined>();
    const startedMs = clock.monotonicMs();
    let state: 'waited for' | 'late' | 'failed' | 'answered' = 'waited for';
    const fail = (error: unknown): void => {
      if (state === 'failed') return;
      state = 'failed';
      this.#failures += 1;
      permit.fail(error);
      resolve(undefined);
    };
    let unwatch = this.#watch.watchDeadline(startedMs + waitMs, () => {
      this.#timeouts += 1;
      if (waitMs >= hardMs) return fail(new Error(`no answer within ${hardMs} ms`));
      state = 'late';
      resolve(undefined);
      unwatch = this.#watch.watchDeadline(startedMs + hardMs, () =>
        fail(new Error(`no answer within ${hardMs} ms`)),
      );
      return undefined;
    });
    const failed = (error: unknown): void => {
      unwatch();
      fail(error);
    };
    try {
      operation().then((answer) => {
        unwatch();
        if (state === 'failed' || state === 'late') onLate?.(answer);
        if (state === 'failed') return;
        state = 'answered';
        permit.succeed();
        resolve(answer);
      }, failed);
    } catch (error) {
      failed(error);
    }
    return promise;
  }
}
