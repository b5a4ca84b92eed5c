import { periodMs, type StoreRule } from './rules.ts';
import type { RateLimitResult } from './result.ts';

const seconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1_000));

/** The field `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10: the same on every answer. */
export function policyField(name: string, rules: readonly StoreRule[]): string {
  return rules
    .map((rule) => {
      const item = `"${name}.${rule.name}";q=${rule.capacity}`;
      if (rule.kind === 'rate') return `${item};w=${seconds(rule.capacity * rule.intervalMs)}`;
      // A month is no fixed number of seconds, and the draft asks for none.
      return rule.per === 'month' ? item : `${item};w=${periodMs[rule.per] / 1_000}`;
    })
    .join(', ');
}

/**
 * The fields of an answer: `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10, and
 * `Retry-After` for what was refused. No partition keys: they would tell who shares a counter.
 */
export function rateLimitHeaders(
  limit: { readonly name: string; readonly policy: string },
  result: RateLimitResult,
): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  const items = result.rules.map(({ rule, remaining, nextMs }) => {
    const item = `"${limit.name}.${rule}";r=${remaining}`;
    return nextMs > 0 && nextMs < Infinity ? `${item};t=${seconds(nextMs)}` : item;
  });
  if (items.length > 0) {
    headers['ratelimit-policy'] = limit.policy;
    headers['ratelimit'] = items.join(', ');
  }
  if (!result.allowed && result.retryAfterMs !== Infinity)
    headers['retry-after'] = String(seconds(result.retryAfterMs));
  return headers;
}
