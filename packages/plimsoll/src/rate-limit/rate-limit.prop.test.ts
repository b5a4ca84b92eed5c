import fc from 'fast-check';
import { expect, test } from 'vitest';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createRateLimit } from './rate-limit.ts';
import type { Period, RateLimitRule } from './rules.ts';

interface Allowed {
  readonly atMs: number;
  readonly cost: number;
}

const start = Date.UTC(2028, 1, 27, 12);
const manual = (): Clock & { ms: number } => ({
  ...systemClock,
  ms: 0,
  monotonicMs() {
    return this.ms;
  },
  now() {
    return start + this.ms;
  },
});

/**
 * The token bucket without its arithmetic: from each call that was allowed until now, no more points than the burst
 * and what came back since. Whole numbers only.
 */
function bucketAllows(
  past: readonly Allowed[],
  { atMs, cost }: Allowed,
  { limit, perMs, burst }: { limit: number; perMs: number; burst: number },
): boolean {
  let sum = cost;
  if ((sum - burst) * perMs > 0) return false;
  for (const earlier of past.toReversed()) {
    sum += earlier.cost;
    if ((sum - burst) * perMs > (atMs - earlier.atMs) * limit) return false;
  }
  return true;
}

/** By what a calendar prints. */
function windowOf(atMs: number, per: Period): string {
  const letters = { month: 7, day: 10, hour: 13, minute: 16, second: 19 }[per];
  return new Date(start + atMs).toISOString().slice(0, letters);
}

function quotaAllows(past: readonly Allowed[], { atMs, cost }: Allowed, limit: number, per: Period): boolean {
  const inWindow = past.filter((each) => windowOf(each.atMs, per) === windowOf(atMs, per));
  return inWindow.reduce((sum, each) => sum + each.cost, cost) <= limit;
}

const periods: readonly Period[] = ['second', 'minute', 'hour', 'day', 'month'];
const aRate = fc.record({
  kind: fc.constant('rate' as const),
  limit: fc.integer({ min: 1, max: 200 }),
  perMs: fc.integer({ min: 1, max: 5_000 }),
  burst: fc.integer({ min: 1, max: 30 }),
});
const aQuota = fc.record({
  kind: fc.constant('quota' as const),
  limit: fc.integer({ min: 1, max: 30 }),
  per: fc.constantFrom(...periods),
});
const aStep = fc.record({
  waitMs: fc.oneof(
    fc.constant(0),
    fc.integer({ min: 0, max: 20 }),
    fc.integer({ min: 0, max: 2_000 }),
    fc.integer({ min: 0, max: 86_400_000 }),
  ),
  cost: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 35 })),
  client: fc.constantFrom('a', 'b'),
});
type Step = { readonly waitMs: number; readonly cost: number; readonly client: string };
type Given =
  | { kind: 'rate'; limit: number; perMs: number; burst: number }
  | { kind: 'quota'; limit: number; per: Period };

const modelAllows = (rule: Given, past: readonly Allowed[], call: Allowed): boolean =>
  rule.kind === 'rate' ? bucketAllows(past, call, rule) : quotaAllows(past, call, rule.limit, rule.per);

/** Runs the steps; each answer is compared with the model's, which has the times of what was allowed and no more. */
async function compare(
  rules: readonly Given[],
  keyed: readonly boolean[],
  steps: readonly Step[],
): Promise<void> {
  const clock = manual();
  const limit = createRateLimit<string>({
    name: 'model',
    rules: rules.map((rule, index): RateLimitRule<string> => ({
      ...rule,
      name: `r${index}`,
      ...(keyed[index] === true ? { key: (client: string) => client } : {}),
    })),
    clock,
  });
  const past: (Allowed & { client: string })[] = [];
  for (const { waitMs, cost, client } of steps) {
    clock.ms += waitMs;
    const call = { atMs: clock.ms, cost };
    const allows = (at: Allowed): boolean =>
      rules.every((rule, index) =>
        modelAllows(
          rule,
          past.filter((each) => keyed[index] !== true || each.client === client),
          at,
        ),
      );
    const wanted = allows(call);
    expect((await limit.peek(client, cost)).allowed).toBe(wanted);
    const result = await limit.take(client, cost);
    expect(result.allowed).toBe(wanted);
    if (result.allowed) {
      expect(result.retryAfterMs).toBe(0);
      past.push({ ...call, client });
    } else if (result.retryAfterMs === Infinity) {
      expect(rules.some((rule) => cost > (rule.kind === 'rate' ? rule.burst : rule.limit))).toBe(true);
    } else {
      expect(result.retryAfterMs).toBeGreaterThan(0);
      // A millisecond before it is not allowed, and from then on it is, unless others take meanwhile.
      // Doubles: 297 ms may be told as 297.00000000000006.
      const dueMs = Math.ceil(clock.ms + result.retryAfterMs - 1e-3);
      if (dueMs > clock.ms + 1) expect(allows({ atMs: dueMs - 1, cost })).toBe(false);
      expect(allows({ atMs: dueMs, cost })).toBe(true);
    }
    // What is left can be taken at once, and one more cannot.
    for (const [index, state] of result.rules.entries()) {
      const rule = rules[index]!;
      const own = past.filter((each) => keyed[index] !== true || each.client === client);
      if (state.remaining > 0)
        expect(modelAllows(rule, own, { atMs: clock.ms, cost: state.remaining })).toBe(true);
      expect(modelAllows(rule, own, { atMs: clock.ms, cost: state.remaining + 1 })).toBe(false);
    }
  }
}

test('a rate allows exactly what the list of allowed times allows, at any rate, burst and cost', async () => {
  await fc.assert(
    fc.asyncProperty(aRate, fc.array(aStep, { maxLength: 60 }), (rule, steps) =>
      compare([rule], [true], steps),
    ),
    { numRuns: 300 },
  );
});

test('a quota allows exactly its limit in each window of the calendar', async () => {
  await fc.assert(
    fc.asyncProperty(aQuota, fc.array(aStep, { maxLength: 60 }), (rule, steps) =>
      compare([rule], [true], steps),
    ),
    { numRuns: 300 },
  );
});

test('rules together allow what each allows, and what one denies costs the others nothing', async () => {
  const rules = fc.array(fc.oneof(aRate, aQuota), { minLength: 2, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(
      rules,
      fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
      fc.array(aStep, { maxLength: 60 }),
      compare,
    ),
    { numRuns: 300 },
  );
});
