import { background } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { contextWatch, createContextWatch, type ContextWatch } from '../kernel/context-watch.ts';
import { DenyCache } from './deny-cache.ts';
import { memoryStore } from './memory-store.ts';
import type { DecidedResult, Degraded } from './result.ts';
import { shareOf, type StoreRule } from './rules.ts';
import type { CountersOptions, Decision, RateCounters } from './store.ts';

/** What holds while the shared store is away. */
export type StoreFailure =
  /** Everything is allowed: for limits that protect comfort. */
  | 'open'
  /** Nothing is allowed: for limits that protect money or secrets. */
  | 'closed'
  /** This process enforces its share of the limit alone: one part in `instances`. */
  | { readonly instances: number };

/** How many calls in a row fail before the others no longer wait for the store. */
const failuresToDown = 3;
/** How often one call asks a store that is away. */
export const probeMs = 500;

export interface SharedCountersOptions extends CountersOptions {
  readonly counters: RateCounters;
  readonly whenStoreFails: StoreFailure;
  readonly storeTimeoutMs: number;
  readonly denyForMs: number;
}

export type StoreHealth = 'up' | 'down';

/** A decision, and by which rules it was made. */
export interface Decided extends DecidedResult {
  readonly rules: readonly StoreRule[];
}

/**
 * Counters outside the process: an answer is there within the time limit, whatever the store does. While it is away
 * no call waits for it but one in every {@link probeMs}, by which it is found again.
 */
export class SharedCounters {
  readonly #options: SharedCountersOptions;
  readonly #clock: Clock;
  readonly #watch: ContextWatch;
  readonly #denied: DenyCache;
  readonly #localRules: readonly StoreRule[];
  readonly #local: RateCounters;
  // Calls in a row that the store did not answer.
  #failures = 0;
  // While it is away: when it is asked again.
  #probeAtMs = 0;

  constructor(options: SharedCountersOptions) {
    const { rules, clock, whenStoreFails, denyForMs } = options;
    this.#options = options;
    this.#clock = clock;
    this.#watch = clock === systemClock ? contextWatch : createContextWatch(clock);
    this.#denied = new DenyCache(rules, denyForMs);
    const instances = typeof whenStoreFails === 'object' ? whenStoreFails.instances : 1;
    this.#localRules = rules.map((rule) => shareOf(rule, instances));
    this.#local = memoryStore().open({ ...options, rules: this.#localRules });
  }

  get health(): StoreHealth {
    return this.#failures < failuresToDown ? 'up' : 'down';
  }

  take(keys: readonly (string | undefined)[], cost: number): Decided | Promise<Decided> {
    const nowMs = this.#clock.monotonicMs();
    const denied = this.#denied.find(keys, cost, nowMs);
    if (denied !== undefined) return { ...denied, rules: this.#options.rules };
    if (this.health === 'down') {
      if (nowMs < this.#probeAtMs) return this.#withoutStore(keys, cost);
      this.#probeAtMs = nowMs + probeMs;
    }
    return this.#ask(keys, cost, nowMs);
  }

  async reset(keys: readonly (string | undefined)[]): Promise<void> {
    this.#denied.clear();
    await this.#local.reset(keys);
    await this.#options.counters.reset(keys);
  }

  #ask(keys: readonly (string | undefined)[], cost: number, askedMs: number): Promise<Decided> {
    const { counters, storeTimeoutMs, rules } = this.#options;
    const { promise, resolve } = Promise.withResolvers<Decided>();
    let waits = true;
    const answer = (): boolean => {
      const first = waits;
      waits = false;
      return first;
    };
    const unwatch = this.#watch.watchDeadline(askedMs + storeTimeoutMs, () => {
      if (!answer()) return;
      this.#failed(new Error(`no answer within ${storeTimeoutMs} ms`));
      resolve(this.#withoutStore(keys, cost));
    });
    const decided = (decision: Decision): void => {
      if (!answer()) return;
      unwatch();
      this.#failures = 0;
      if (!decision.allowed && cost > 0 && this.#options.denyForMs > 0)
        this.#denied.add(keys, cost, decision.levels, askedMs);
      resolve({ ...decision, rules });
    };
    const failed = (error: unknown): void => {
      if (!answer()) return;
      unwatch();
      this.#failed(error);
      resolve(this.#withoutStore(keys, cost));
    };
    try {
      const decision = counters.take(keys, cost);
      if (decision instanceof Promise) decision.then(decided, failed);
      else decided(decision);
    } catch (error) {
      failed(error);
    }
    return promise;
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    if (this.#failures !== failuresToDown) return;
    this.#probeAtMs = this.#clock.monotonicMs() + probeMs;
    const { scope, name } = this.#options;
    background.publish({ scope, what: `store of the rate limit ${name}: away`, error });
  }

  #withoutStore(keys: readonly (string | undefined)[], cost: number): Decided {
    const { whenStoreFails, rules } = this.#options;
    if (typeof whenStoreFails === 'object') {
      // In memory, so it answers at once.
      const decision = this.#local.take(keys, cost) as Decision;
      // What is above the share may still be allowed by the store.
      const tooMuch = this.#localRules.some((rule, at) => keys[at] !== undefined && cost > rule.capacity);
      return { ...decision, rules: this.#localRules, ...degraded('local', tooMuch ? probeMs : undefined) };
    }
    return whenStoreFails === 'open'
      ? { allowed: true, levels: [], rules, ...degraded('open') }
      : { allowed: false, levels: [], rules, ...degraded('closed', probeMs) };
  }
}

const degraded = (how: Degraded, retryAfterMs?: number): { degraded: Degraded; retryAfterMs?: number } =>
  retryAfterMs === undefined ? { degraded: how } : { degraded: how, retryAfterMs };
