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

/** Milliseconds until `cost` points are there. */
export function waitMs(rule: StoreRule, { used, resetMs }: Level, cost: number): number {
  if (cost > rule.capacity) return Infinity;
  const missing = used + cost - rule.capacity;
  if (missing <= slack(rule)) return 0;
  return rule.kind === 'rate' ? missing * rule.intervalMs : resetMs;
}

/** The points that come back within the tolerance. */
const slack = (rule: StoreRule): number =>
  rule.kind === 'rate' ? toleranceMs(rule.intervalMs) / rule.intervalMs : 0;

function remainingOf(rule: StoreRule, used: number): number {
  const left = Math.floor(rule.capacity - used + slack(rule));
  return left > 0 ? left : 0;
}

/** The states of the rules are made when they are asked for: most callers need only whether it is allowed. */
export class Result implements RateLimitResult {
  readonly allowed: boolean;
  readonly rule: string | undefined = undefined;
  readonly limit: number = Infinity;
  readonly remaining: number = Infinity;
  readonly resetMs: number = 0;
  readonly retryAfterMs: number = 0;
  readonly degraded: Degraded | undefined;
  readonly #rules: readonly StoreRule[];
  readonly #levels: readonly (Level | undefined)[];

  constructor(rules: readonly StoreRule[], decided: DecidedResult, cost: number) {
    const { allowed, levels } = decided;
    this.allowed = allowed;
    this.degraded = decided.degraded;
    this.#rules = rules;
    this.#levels = levels;
    for (let index = 0; index < levels.length; index += 1) {
      const level = levels[index];
      const rule = rules[index];
      if (level === undefined || rule === undefined) continue;
      const remaining = remainingOf(rule, level.used);
      const retryAfterMs = allowed ? 0 : waitMs(rule, level, cost);
      const binds =
        this.rule === undefined || (allowed ? remaining < this.remaining : retryAfterMs > this.retryAfterMs);
      if (!binds) continue;
      this.rule = rule.name;
      this.limit = rule.capacity;
      this.remaining = remaining;
      this.resetMs = level.resetMs;
      this.retryAfterMs = retryAfterMs;
    }
    if (decided.retryAfterMs !== undefined) this.retryAfterMs = decided.retryAfterMs;
    // A store rounds; who is refused never hears "at once".
    else if (!allowed && this.retryAfterMs === 0) this.retryAfterMs = 1;
  }

  get rules(): readonly RuleState[] {
    return this.#rules.flatMap((rule, index) => {
      const level = this.#levels[index];
      if (level === undefined) return [];
      const remaining = remainingOf(rule, level.used);
      const nextMs =
        remaining >= rule.capacity ? 0 : waitMs(rule, level, Math.min(rule.capacity, remaining + 1));
      return [{ rule: rule.name, limit: rule.capacity, remaining, resetMs: level.resetMs, nextMs }];
    });
  }
}
