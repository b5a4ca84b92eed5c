import type { IncomingHttpHeaders } from 'node:http';
import { seenHeader } from '../kernel/seen-header.ts';
import { entityTag, isNoneMatch } from './entity-tag.ts';
import type { HttpCachePolicy } from './policy.ts';
import { tagFields } from './tags.ts';

/** Fields for shared caches. An answer that is not anybody's must have none of them, whatever its `Cache-Control` says. */
export const sharedCacheFields = [
  'cdn-cache-control',
  'surrogate-control',
  'surrogate-key',
  'cache-tag',
] as const;

/** Of one client or one request; not on an answer that others get too. */
export const perClientFields = ['x-correlation-id', 'ratelimit', 'ratelimit-policy'] as const;

export const privateCacheControl = 'private, no-cache';

/**
 * Whether a request says who asks or what it has seen: it has credentials, a causality token, or one of these cookies,
 * with the prefix `__Host-` too. Without names, every cookie may be one.
 */
export function isPersonal(headers: IncomingHttpHeaders, cookies?: readonly string[]): boolean {
  const { authorization, cookie } = headers;
  if (authorization !== undefined || headers[seenHeader] !== undefined) return true;
  if (cookie === undefined) return false;
  if (cookies === undefined) return true;
  const names = new Set([...cookies, seenHeader].flatMap((name) => [name, `__Host-${name}`]));
  return cookie.split(';').some((pair) => names.has(pair.split('=', 1)[0]?.trim() ?? ''));
}

/** As Node and Fastify give a field of an answer. */
export type FieldValue = number | string | readonly string[] | undefined;

/** What is known of a successful answer before it is written. */
export interface Answering<Subject, Value> {
  readonly subject: Subject;
  readonly value: Value;
  readonly body: string | Uint8Array;
  /** `If-None-Match` of the request. */
  readonly ifNoneMatch: string | undefined;
  /** Whether it may be anybody's. */
  readonly isAnonymous: boolean;
  /** Since the request came. Milliseconds. */
  readonly tookMs: number;
  /** `Vary` as it is so far. */
  readonly vary: FieldValue;
}

export interface CacheableAnswer {
  /** 304 has no body. */
  readonly status: 200 | 304;
  readonly headers: Readonly<Record<string, string>>;
  readonly isShared: boolean;
  /** Why an anonymous answer is kept from shared caches. */
  readonly problem?: string;
}

/**
 * What a 200 of GET or HEAD is answered with. 304 has the same fields (RFC 9110, 15.4.5), those for shared caches too,
 * so that they renew what they keep.
 */
export function cacheableAnswer<Subject, Value>(
  policy: HttpCachePolicy<Subject, Value>,
  answering: Answering<Subject, Value>,
): CacheableAnswer {
  const { body, ifNoneMatch, isAnonymous, tookMs, vary, subject, value } = answering;
  const etag = entityTag(body);
  const status = isNoneMatch(ifNoneMatch, etag) ? 304 : 200;
  const always = { etag, vary: mergeVary(vary, policy.vary) };
  const mine = {
    status,
    headers: { ...always, 'cache-control': privateCacheControl },
    isShared: false,
  } as const;
  if (!isAnonymous || tookMs > policy.maxAnswerMs) return mine;
  const tags = policy.tagsOf(subject, value);
  if (tags.length === 0) return { ...mine, problem: 'has no tags, so that nothing could purge it' };
  const fields = tagFields(tags);
  if (fields === undefined)
    return { ...mine, problem: `has ${tags.length} tags, more than fit; give it a coarser one` };
  return {
    status,
    isShared: true,
    headers: {
      ...always,
      ...fields,
      'cache-control': policy.cacheControl,
      'cdn-cache-control': policy.cdnCacheControl,
      // Fastly reads this one.
      'surrogate-control': policy.cdnCacheControl,
    },
  };
}

/** Each name once. */
function mergeVary(given: FieldValue, own: string): string {
  if (given === undefined) return own;
  const names = `${String(given)},${own}`.split(',').map((name) => name.trim());
  const all = new Map(names.filter((name) => name !== '').map((name) => [name.toLowerCase(), name]));
  return [...all.values()].join(', ');
}
