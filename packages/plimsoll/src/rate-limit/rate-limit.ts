import { plainAttempt, type Work } from '../kernel/attempt.ts';
import { refusals } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { PlimsollError, throwIfProblems, type Problem } from '../kernel/errors.ts';
import { policyField } from './headers.ts';
import { MemoryCounters, memoryStore } from './memory-store.ts';
import { Result, slack, waitMs, type RateLimitResult } from './result.ts';
import { nameProblems, ruleProblems, storeRule, type RateLimitRule, type StoreRule } from './rules.ts';
import { SharedCounters, type StoreFailure, type StoreHealth } from './shared-counters.ts';
import type { Decision, RateCounters, RateLimitStore } from './store.ts';

export interface RateLimitOptions<Subject = void> {
  /** 1 to 40 letters, digits, `-` and `_`; in errors, events and keys. Limits of one name share their counters. */
  readonly name: string;
  /** 1 to 8. A call takes points under all of them, or under none. */
  readonly rules: readonly RateLimitRule<Subject>[];
  /** Where the counters are. Default `memoryStore()`. */
  readonly store?: RateLimitStore;
  /** What holds while a shared store is away; must be said for such a store. */
  readonly whenStoreFails?: StoreFailure;
  /** How long a shared store may take to answer. Default 50. */
  readonly storeTimeoutMs?: number;
  /** The longest that a denial of a shared store is repeated without asking it again; 0 asks always. Default 1000. */
  readonly denyForMs?: number;
  /** Whose telemetry this is. Default the limit itself. */
  readonly scope?: object;
  readonly clock?: Clock;
}

export const rateLimitDefaults = { storeTimeoutMs: 50, denyForMs: 1_000 } as const;

export interface RateLimitState {
  readonly name: string;
  readonly store: StoreHealth;
  readonly allowed: number;
  readonly denied: number;
  /** Of these, decided without the shared store. */
  readonly degraded: number;
}

export interface RateLimit<Subject = void> {
  readonly name: string;
  /** The field `RateLimit-Policy`. */
  readonly policy: string;
  /** Takes `cost` points (default 1) when every rule has them; else nothing. Never rejects because of a store. */
  take(subject: Subject, cost?: number): Promise<RateLimitResult>;
  /** As `take`, at once: for a store in this process. Throws PL_CONFIG where the store is shared. */
  takeNow(subject: Subject, cost?: number): RateLimitResult;
  /** What `take` would say; takes nothing. */
  peek(subject: Subject, cost?: number): Promise<RateLimitResult>;
  /** Gives all points back, as after a login that succeeded. Rejects with the store's own error. */
  reset(subject: Subject): Promise<void>;
  /** Takes a point and does the work, or rejects with PL_RATE_LIMITED. A `Guard` where there is no subject. */
  run<T>(work: Work<T>, subject: Subject, cost?: number): Promise<T>;
  /** PL_RATE_LIMITED for a result that was not allowed. */
  refusal(result: RateLimitResult): PlimsollError;
  state(): RateLimitState;
}

/** At most so many points in so much time, for each key; see {@link RateLimitOptions}. Throws PL_CONFIG. */
export function createRateLimit<Subject = void>(options: RateLimitOptions<Subject>): RateLimit<Subject> {
  return new Limiter(options);
}

export function rateLimitProblems<Subject>(options: RateLimitOptions<Subject>): readonly Problem[] {
  const { storeTimeoutMs, denyForMs } = { ...rateLimitDefaults, ...options };
  const { whenStoreFails, store } = options;
  const problems: Problem[] = [...nameProblems(options.name, 'name'), ...ruleProblems(options.rules)];
  const whole = (path: string, value: number, least: number, most: number): void => {
    if (!Number.isInteger(value) || value < least || value > most)
      problems.push({ path, message: `is ${value}; want a whole number from ${least} to ${most}` });
  };
  whole('storeTimeoutMs', storeTimeoutMs, 1, 60_000);
  whole('denyForMs', denyForMs, 0, 3_600_000);
  if (typeof whenStoreFails === 'object')
    whole('whenStoreFails.instances', whenStoreFails.instances, 1, 10_000);
  else if (whenStoreFails !== undefined && whenStoreFails !== 'open' && whenStoreFails !== 'closed')
    problems.push({
      path: 'whenStoreFails',
      message: `is ${JSON.stringify(whenStoreFails)}; want "open", "closed" or { instances }`,
    });
  if (store?.shared === true && whenStoreFails === undefined)
    problems.push({
      path: 'whenStoreFails',
      message: 'is missing; say what holds while the store is away: "open", "closed" or { instances }',
    });
  return problems;
}

/** @internal {@link RateLimit}, and what the waiting limit needs of it. */
export class Limiter<Subject> implements RateLimit<Subject> {
  readonly name: string;
  readonly policy: string;
  readonly rules: readonly StoreRule[];
  readonly #keyOf: readonly RateLimitRule<Subject>['key'][];
  /** Of the call under way, where it is decided at once. */
  readonly #keys: (string | undefined)[] = [];
  readonly #scope: object;
  readonly #shared: SharedCounters | undefined;
  readonly #counters: RateCounters;
  /** The only rule, where its counters are in this process. */
  readonly #only:
    | {
        readonly rule: StoreRule;
        readonly slack: number;
        readonly keyOf: RateLimitRule<Subject>['key'];
        readonly counters: MemoryCounters;
      }
    | undefined;
  #allowed = 0;
  #denied = 0;
  #degraded = 0;

  constructor(options: RateLimitOptions<Subject>) {
    throwIfProblems(`the rate limit ${options.name}`, rateLimitProblems(options));
    const { name, store = memoryStore(), clock = systemClock, scope = this } = options;
    this.name = name;
    this.rules = options.rules.map(storeRule);
    this.policy = policyField(name, this.rules);
    this.#keyOf = options.rules.map(({ key }) => key);
    this.#scope = scope;
    const opening = { name, rules: this.rules, clock, scope };
    this.#counters = store.open(opening);
    const [rule, ...more] = this.rules;
    if (this.#counters instanceof MemoryCounters && rule !== undefined && more.length === 0)
      this.#only = { rule, slack: slack(rule), keyOf: this.#keyOf[0], counters: this.#counters };
    this.#shared = store.shared
      ? new SharedCounters({
          ...opening,
          ...rateLimitDefaults,
          whenStoreFails: 'closed',
          ...options,
          rules: this.rules,
          clock,
          scope,
          counters: this.#counters,
        })
      : undefined;
  }

  take(subject: Subject, cost = 1): Promise<RateLimitResult> {
    try {
      const result = this.decide(subject, cost);
      return result instanceof Promise
        ? result.then((later) => this.#tell(later))
        : Promise.resolve(this.#tell(result));
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  takeNow(subject: Subject, cost = 1): RateLimitResult {
    if (this.#shared !== undefined)
      throw new PlimsollError(
        'PL_CONFIG',
        `${this.name} keeps its counters in a shared store, which does not answer at once; use take`,
      );
    return this.#tell(this.decide(subject, cost) as Result);
  }

  async peek(subject: Subject, cost = 1): Promise<RateLimitResult> {
    assertCost(cost);
    const { levels, rules, ...decided } =
      this.#shared === undefined
        ? { ...this.#takeHere(subject, 0), rules: this.rules }
        : await this.#shared.take(this.#keysOf(subject, []), 0);
    const enough = levels.every((level, index) => {
      const rule = rules[index];
      return level === undefined || rule === undefined || waitMs(rule, level, cost) === 0;
    });
    return Result.of(rules, { ...decided, levels, allowed: decided.allowed && enough }, cost);
  }

  async reset(subject: Subject): Promise<void> {
    await (this.#shared ?? this.#counters).reset(this.#keysOf(subject, []));
  }

  run<T>(work: Work<T>, subject: Subject, cost = 1): Promise<T> {
    try {
      const result = this.decide(subject, cost);
      if (result instanceof Promise)
        return result.then((later) => {
          if (!this.#tell(later).allowed) throw this.refusal(later);
          return work(plainAttempt);
        });
      return this.#tell(result).allowed ? work(plainAttempt) : Promise.reject(this.refusal(result));
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  refusal(result: RateLimitResult): PlimsollError {
    const { rule, limit, remaining, retryAfterMs, degraded } = result;
    const wait = retryAfterMs === Infinity ? {} : { retryAfterMs: Math.ceil(retryAfterMs) };
    return new PlimsollError('PL_RATE_LIMITED', `${this.name} refused: ${explain(result)}`, {
      data: {
        name: this.name,
        ...wait,
        ...(rule === undefined ? {} : { rule, limit, remaining }),
        ...(degraded === undefined ? {} : { degraded }),
      },
    });
  }

  get shared(): boolean {
    return this.#shared !== undefined;
  }

  state(): RateLimitState {
    return {
      name: this.name,
      store: this.#shared?.health ?? 'up',
      allowed: this.#allowed,
      denied: this.#denied,
      degraded: this.#degraded,
    };
  }

  /** As {@link take}, at once where the counters are in this process, and told to nobody. */
  decide(subject: Subject, cost: number): Result | Promise<Result> {
    assertCost(cost);
    const only = this.#only;
    if (only !== undefined) {
      const key = only.keyOf === undefined ? '' : only.keyOf(subject);
      if (key !== undefined)
        return Result.ofOne(this.rules, only.rule, only.slack, only.counters.takeOne(key, cost), cost);
    }
    if (this.#shared === undefined) return Result.of(this.rules, this.#takeHere(subject, cost), cost);
    const decided = this.#shared.take(this.#keysOf(subject, []), cost);
    return decided instanceof Promise
      ? decided.then((later) => Result.of(later.rules, later, cost))
      : Result.of(decided.rules, decided, cost);
  }

  #keysOf(subject: Subject, keys: (string | undefined)[]): (string | undefined)[] {
    for (let index = 0; index < this.#keyOf.length; index += 1) {
      const keyOf = this.#keyOf[index];
      keys[index] = keyOf === undefined ? '' : keyOf(subject);
    }
    return keys;
  }

  /** Not shared means in this process, and so at once. */
  #takeHere(subject: Subject, cost: number): Decision {
    return this.#counters.take(this.#keysOf(subject, this.#keys), cost) as Decision;
  }

  #tell(result: Result): Result {
    if (result.degraded !== undefined) this.#degraded += 1;
    if (result.allowed) {
      this.#allowed += 1;
      return result;
    }
    this.#denied += 1;
    if (refusals.hasSubscribers)
      refusals.publish({
        scope: this.#scope,
        policy: 'rate-limit',
        name: this.name,
        reason: result.rule === undefined ? 'the store is away' : `rule ${result.rule}`,
      });
    return result;
  }
}

/** A cost below 0 would give points. */
function assertCost(cost: number): void {
  if (cost > 0 && cost < Infinity) return;
  throw new PlimsollError('PL_CONFIG', `a cost of ${cost} points cannot be taken; want a number above 0`);
}

function explain({ rule, limit, remaining, retryAfterMs, degraded }: RateLimitResult): string {
  if (rule === undefined)
    return `the store of its counters is away, and it is closed then; retry in ${retryAfterMs} ms`;
  const share = degraded === 'local' ? ' (the share of this process, as the store is away)' : '';
  const left = `rule ${rule} has ${remaining} of ${limit} points left${share}`;
  return retryAfterMs === Infinity
    ? `${left}, and the call costs more than ${limit}; ask for less at once`
    : `${left}; retry in ${Math.ceil(retryAfterMs)} ms`;
}
