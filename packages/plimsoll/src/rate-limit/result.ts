import { toleranceMs, type StoreRule } from './rules.ts';
import type { Level } from './store.ts';

/** How one rule stands for its key, after the decision. */
export interface RuleState {
  readonly rule: string;
  /** The most points at once: the burst of a rate, the limit of a quota. */
  readonly limit: number;
  readonly remaining: number;
  /** Milliseconds until all points are there again. */
  readonly resetMs: number;
  /** Milliseconds until there is one more point than remain; 0 when all are there. */
  readonly nextMs: number;
}

/** How the store failed, where it did: what was done in its place. */
export type Degraded = 'open' | 'closed' | 'local';

export interface RateLimitResult {
  readonly allowed: boolean;
  /** Of the rule that binds: the one to wait longest for, or that has the fewest points left. Undefined when none applied. */
  readonly rule: string | undefined;
  /** The most points at once under that rule; Infinity when none applied. */
  readonly limit: number;
  readonly remaining: number;
  /** Milliseconds until all points of that rule are there again. */
  readonly resetMs: number;
  /** Milliseconds until the same call can be allowed; 0 when it was, Infinity when its cost is above the limit. */
  readonly retryAfterMs: number;
  /** Set when the shared store did not answer in time. */
  readonly degraded: Degraded | undefined;
  /** Every rule that applied. */
  readonly rules: readonly RuleState[];
}

export interface DecidedResult {
  readonly allowed: boolean;
  readonly levels: readonly (Level | undefined)[];
  readonly degraded?: Degraded;
  /** Where no rule was asked. */
  readonly retryAfterMs?: number;
}

/** Where the counter of the only rule stands. */
interface OneLevel extends Level {
  readonly allowed: boolean;
}

/** Milliseconds until `cost` points are there. */
export function waitMs(rule: StoreRule, { used, resetMs }: Level, cost: number): number {
  if (cost > rule.capacity) return Infinity;
  const missing = used + cost - rule.capacity;
  if (missing <= slack(rule)) return 0;
  return rule.kind === 'rate' ? missing * rule.intervalMs : resetMs;
}

/** The points that come back within the tolerance. */
export const slack = (rule: StoreRule): number =>
  rule.kind === 'rate' ? toleranceMs(rule.intervalMs) / rule.intervalMs : 0;

function remainingOf(rule: StoreRule, used: number, slackOfRule = slack(rule)): number {
  const left = Math.floor(rule.capacity - used + slackOfRule);
  return left > 0 ? left : 0;
}

/** What binds; that of nothing where no rule applied. */
type Binding = Pick<RateLimitResult, 'rule' | 'limit' | 'remaining' | 'resetMs' | 'retryAfterMs'>;

/** The states of the rules are made when they are asked for: most callers need only whether it is allowed. */
export class Result implements RateLimitResult {
  readonly allowed: boolean;
  readonly rule: string | undefined;
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
  readonly retryAfterMs: number;
  readonly degraded: Degraded | undefined;
  readonly #rules: readonly StoreRule[];
  /** Of the only rule, where there is no list of levels. */
  readonly #used: number;
  readonly #levels: readonly (Level | undefined)[] | undefined;

  private constructor(
    rules: readonly StoreRule[],
    allowed: boolean,
    { rule, limit, remaining, resetMs, retryAfterMs }: Binding,
    degraded: Degraded | undefined,
    used: number,
    levels: readonly (Level | undefined)[] | undefined,
  ) {
    this.allowed = allowed;
    this.rule = rule;
    this.limit = limit;
    this.remaining = remaining;
    this.resetMs = resetMs;
    // A store rounds; who is refused never hears "at once".
    this.retryAfterMs = allowed || retryAfterMs > 0 ? retryAfterMs : 1;
    this.degraded = degraded;
    this.#rules = rules;
    this.#used = used;
    this.#levels = levels;
  }

  static of(rules: readonly StoreRule[], decided: DecidedResult, cost: number): Result {
    const { allowed, levels } = decided;
    let binding: Binding = {
      rule: undefined,
      limit: Infinity,
      remaining: Infinity,
      resetMs: 0,
      retryAfterMs: 0,
    };
    for (let index = 0; index < levels.length; index += 1) {
      const level = levels[index];
      const rule = rules[index];
      if (level === undefined || rule === undefined) continue;
      const remaining = remainingOf(rule, level.used);
      const retryAfterMs = allowed ? 0 : waitMs(rule, level, cost);
      const binds =
        binding.rule === undefined ||
        (allowed ? remaining < binding.remaining : retryAfterMs > binding.retryAfterMs);
      if (!binds) continue;
      binding = { rule: rule.name, limit: rule.capacity, remaining, resetMs: level.resetMs, retryAfterMs };
    }
    const { degraded, retryAfterMs = binding.retryAfterMs } = decided;
    return new Result(rules, allowed, { ...binding, retryAfterMs }, degraded, 0, levels);
  }

  /** As `of` for one rule that applied, without its lists. */
  static ofOne(
    rules: readonly StoreRule[],
    rule: StoreRule,
    slackOfRule: number,
    level: OneLevel,
    cost: number,
  ): Result {
    const { allowed, used, resetMs } = level;
    const binding = {
      rule: rule.name,
      limit: rule.capacity,
      remaining: remainingOf(rule, used, slackOfRule),
      resetMs,
      retryAfterMs: allowed ? 0 : waitMs(rule, level, cost),
    };
    return new Result(rules, allowed, binding, undefined, used, undefined);
  }

  get rules(): readonly RuleState[] {
    const levels = this.#levels ?? [{ used: this.#used, resetMs: this.resetMs }];
    return this.#rules.flatMap((rule, index) => {
      const level = levels[index];
      if (level === undefined) return [];
      const remaining = remainingOf(rule, level.used);
      const nextMs =
        remaining >= rule.capacity ? 0 : waitMs(rule, level, Math.min(rule.capacity, remaining + 1));
      return [{ rule: rule.name, limit: rule.capacity, remaining, resetMs: level.resetMs, nextMs }];
    });
  }
}
