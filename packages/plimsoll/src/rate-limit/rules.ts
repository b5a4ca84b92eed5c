import type { Problem } from '../kernel/errors.ts';

/** Windows of a quota; each begins where the calendar in UTC says. */
export type Period = 'second' | 'minute' | 'hour' | 'day' | 'month';

interface RuleBase<Subject> {
  /** 1 to 40 letters, digits, `-` and `_`; unique in its limit. Clients see it in `RateLimit`. */
  readonly name: string;
  /** Whose counter. Undefined: the rule does not apply to this one. Default: one counter for all. */
  readonly key?: (subject: Subject) => string | undefined;
}

/** A token bucket (GCRA): `limit` points every `perMs`, one after the other, and `burst` at once. */
export interface RateRule<Subject = void> extends RuleBase<Subject> {
  readonly kind: 'rate';
  readonly limit: number;
  /** Milliseconds; less than a second is fine. */
  readonly perMs: number;
  /** Most points at once; no period takes more than `burst + limit`. Default `limit`. */
  readonly burst?: number;
}

/** A fixed window, for quotas and billing: `limit` points in each hour, day or month of UTC. */
export interface QuotaRule<Subject = void> extends RuleBase<Subject> {
  readonly kind: 'quota';
  readonly limit: number;
  readonly per: Period;
}

export type RateLimitRule<Subject = void> = RateRule<Subject> | QuotaRule<Subject>;

/** A rule as a store sees it. */
export type StoreRule =
  | {
      readonly kind: 'rate';
      readonly name: string;
      /** Most points at once. */
      readonly capacity: number;
      /** Milliseconds in which one point comes back. */
      readonly intervalMs: number;
    }
  | { readonly kind: 'quota'; readonly name: string; readonly capacity: number; readonly per: Period };

/** Lengths of windows; a month has no fixed one. */
export const periodMs: Readonly<Record<Exclude<Period, 'month'>, number>> = {
  second: 1_000,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
};

/** When the window of this moment ends; both in milliseconds since the epoch. */
export function windowEndMs(nowMs: number, per: Period): number {
  if (per !== 'month') return (Math.floor(nowMs / periodMs[per]) + 1) * periodMs[per];
  const now = new Date(nowMs);
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1);
}

/**
 * Times are doubles of milliseconds, so a point that is due now may seem due a moment later. A microsecond, and for
 * the fastest rates a thousandth of a point.
 */
export function toleranceMs(intervalMs: number): number {
  return Math.min(1, intervalMs) / 1_000;
}

export function storeRule<Subject>(rule: RateLimitRule<Subject>): StoreRule {
  const { name, limit } = rule;
  return rule.kind === 'quota'
    ? { kind: 'quota', name, capacity: limit, per: rule.per }
    : { kind: 'rate', name, capacity: rule.burst ?? limit, intervalMs: rule.perMs / limit };
}

/** The part that one of `instances` processes enforces alone. */
export function shareOf(rule: StoreRule, instances: number): StoreRule {
  const capacity = Math.max(1, Math.floor(rule.capacity / instances));
  return rule.kind === 'quota'
    ? { ...rule, capacity }
    : { ...rule, capacity, intervalMs: rule.intervalMs * instances };
}

/** The most a counter may hold, so that every store counts in whole numbers that doubles have. */
const highest = 1e12;
const name = /^[\w-]{1,40}$/;

export const nameProblems = (value: string, path: string): readonly Problem[] =>
  name.test(value)
    ? []
    : [
        {
          path,
          message: `is ${JSON.stringify(value)}; want 1 to 40 letters, digits, "-" and "_"`,
        },
      ];

export function ruleProblems<Subject>(rules: readonly RateLimitRule<Subject>[]): readonly Problem[] {
  const problems: Problem[] = [];
  if (rules.length === 0 || rules.length > 8)
    problems.push({ path: 'rules', message: `are ${rules.length}; want 1 to 8` });
  const seen = new Set<string>();
  for (const [index, rule] of rules.entries()) {
    const at = (option: string): string => `rules[${index}].${option}`;
    const whole = (option: string, value: number, most: number): void => {
      if (!Number.isInteger(value) || value < 1 || value > most)
        problems.push({ path: at(option), message: `is ${value}; want a whole number from 1 to ${most}` });
    };
    problems.push(...nameProblems(rule.name, at('name')));
    if (seen.has(rule.name))
      problems.push({ path: at('name'), message: `"${rule.name}" is there twice; each rule has its own` });
    seen.add(rule.name);
    whole('limit', rule.limit, highest);
    if (rule.kind === 'rate') {
      if (rule.burst !== undefined) whole('burst', rule.burst, highest);
      whole('perMs', rule.perMs, 366 * periodMs.day);
    } else if (rule.kind !== 'quota')
      problems.push({
        path: at('kind'),
        message: `is ${JSON.stringify((rule as { kind: unknown }).kind)}; want "rate" or "quota"`,
      });
    else if (rule.per !== 'month' && !Object.hasOwn(periodMs, rule.per))
      problems.push({
        path: at('per'),
        message: `is ${JSON.stringify(rule.per)}; want "second", "minute", "hour", "day" or "month"`,
      });
  }
  return problems;
}
