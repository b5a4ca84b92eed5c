import { validateHeaderName } from 'node:http';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';

export type Tags = readonly [string, ...string[]];

/** `subject` is what was asked for, `value` what is answered: in a route the input and the output of its query. */
export interface HttpCachePolicyOptions<Subject = unknown, Value = unknown> {
  /** How long shared caches answer with it. Milliseconds, at least a second; fractions of a second are left out. */
  readonly ttlMs: number;
  /** What changes the answer: by these it is purged. At least one. The same as of the cache of the application. */
  readonly tags: Tags | TagsOf<Subject, Value>;
  /** How long browsers answer with it. No purge reaches them. Default 0: they ask each time, and get 304. */
  readonly browserTtlMs?: number;
  /** How long after `ttlMs` a shared cache answers at once, and asks meanwhile. After a soft purge too. Default 0. */
  readonly staleWhileRevalidateMs?: number;
  /** How long after `ttlMs` a shared cache answers when we fail. Default 0. */
  readonly staleIfErrorMs?: number;
  /** Fields of the request that decide besides `Authorization`, `Cookie` and `Plimsoll-Seen`. Default none. */
  readonly vary?: readonly string[];
  /**
   * An answer that took longer is not given to shared caches: it may show what was there before a change whose purges
   * are over when it arrives. Default 1_000.
   */
  readonly maxAnswerMs?: number;
}

/** A method, so that a policy for one kind of subject may stand among policies for any. */
export type TagsOf<Subject, Value> = {
  tags(subject: Subject, value: Value): Tags;
}['tags'];

export const httpCachePolicyDefaults = {
  browserTtlMs: 0,
  staleWhileRevalidateMs: 0,
  staleIfErrorMs: 0,
  maxAnswerMs: 1_000,
} as const;

/** How the answers of a route are kept by caches outside of us. Made by {@link httpCachePolicy}. */
export interface HttpCachePolicy<Subject = unknown, Value = unknown> {
  readonly maxAnswerMs: number;
  /** For caches that no purge reaches. */
  readonly cacheControl: string;
  /** For shared caches that we purge. */
  readonly cdnCacheControl: string;
  readonly vary: string;
  tagsOf(subject: Subject, value: Value): readonly string[];
}

/** Decide whether an answer is anybody's. */
const deciding = ['Authorization', 'Cookie', 'Plimsoll-Seen'] as const;

/** Throws PL_CONFIG when an option is not valid, naming every problem. */
export function httpCachePolicy<Subject = unknown, Value = unknown>(
  options: HttpCachePolicyOptions<Subject, Value>,
): HttpCachePolicy<Subject, Value> {
  throwIfProblems('the HTTP cache policy', httpCacheProblems(options, ''));
  const { tags, vary = [] } = options;
  const { ttlMs, browserTtlMs, staleWhileRevalidateMs, staleIfErrorMs, maxAnswerMs } = {
    ...httpCachePolicyDefaults,
    ...options,
  };
  const all = new Map([...deciding, ...vary].map((name) => [name.toLowerCase(), name]));
  return {
    maxAnswerMs,
    // Without `public`: it would allow caches to keep answers to requests with credentials (RFC 9111, 3.5).
    cacheControl: browserTtlMs >= 1_000 ? `max-age=${seconds(browserTtlMs)}` : 'no-cache',
    cdnCacheControl: [
      `max-age=${seconds(ttlMs)}`,
      ...(staleWhileRevalidateMs > 0 ? [`stale-while-revalidate=${seconds(staleWhileRevalidateMs)}`] : []),
      ...(staleIfErrorMs > 0 ? [`stale-if-error=${seconds(staleIfErrorMs)}`] : []),
    ].join(', '),
    vary: [...all.values()].join(', '),
    tagsOf: (subject, value) => (typeof tags === 'function' ? tags(subject, value) : tags),
  };
}

const seconds = (ms: number): number => Math.floor(ms / 1_000);
const longestMs = 365 * 86_400_000;

export function httpCacheProblems(options: HttpCachePolicyOptions<never>, path: string): readonly Problem[] {
  const problems: Problem[] = [];
  const at = (name: string): string => (path === '' ? name : `${path}.${name}`);
  const { ttlMs, browserTtlMs, staleWhileRevalidateMs, staleIfErrorMs, maxAnswerMs } = {
    ...httpCachePolicyDefaults,
    ...options,
  };
  const time = (name: string, ms: number, least: number): void => {
    if (!(ms >= least && ms <= longestMs))
      problems.push({
        path: at(name),
        message: `is ${ms}; give milliseconds from ${least} to ${longestMs}, a year`,
      });
  };
  time('ttlMs', ttlMs, 1_000);
  for (const [name, ms] of Object.entries({ browserTtlMs, staleWhileRevalidateMs, staleIfErrorMs }))
    time(name, ms, ms === 0 ? 0 : 1_000);
  time('maxAnswerMs', maxAnswerMs, 1);
  const { tags } = options;
  if (typeof tags !== 'function') problems.push(...tagProblems(tags, at('tags')));
  for (const name of options.vary ?? [])
    if (name === '*' || !isFieldName(name))
      problems.push({
        path: at('vary'),
        message: `has ${JSON.stringify(name)}; give names of request fields, such as "Accept-Language"`,
      });
  return problems;
}

/** A policy given without types may lack them. */
function tagProblems(tags: readonly string[] | undefined, path: string): readonly Problem[] {
  if (!Array.isArray(tags) || tags.length === 0)
    return [{ path, message: 'has none; name what changes the answer, such as `product:7`' }];
  return tags.some((tag) => typeof tag !== 'string' || tag === '')
    ? [{ path, message: 'has an empty one; name what changes the answer' }]
    : [];
}

function isFieldName(name: string): boolean {
  try {
    validateHeaderName(name);
    return true;
  } catch {
    return false;
  }
}
