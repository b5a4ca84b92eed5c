/**
 * `plimsoll/http-cache`: answers that shared caches and browsers keep, and purges of what they keep.
 *
 * Guarantee: only a 200 to somebody anonymous is given to shared caches; what has credentials, a session, a causality
 * token or a cookie to set is `private, no-cache` and has no field for them. Each such answer has its tags, which no
 * separator in them can split, or it is not given to them at all. `ETag` and 304 work for everybody.
 *
 * Authoritative: what the origin answers. Who has seen something asks it, past every cache.
 *
 * States of a purge (with a relay of `plimsoll/cache`): recorded with the commit → due when the inner tiers have been
 * told → done once → done again, after a while, and gone.
 *
 * Not promised: that an anonymous reader sees a change before its purge, nor anything of caches that ignore what is
 * said to them; browsers keep what they have for `browserTtlMs`, whatever is purged.
 *
 * On failure: a purge that fails rejects with PL_REMOTE_FAILED, PL_NETWORK, PL_TIMEOUT or PL_BREAKER_OPEN; a relay
 * makes it again until it is done, and neither writers nor the inner tiers wait for it.
 */
export {
  httpCachePolicy,
  httpCachePolicyDefaults,
  type HttpCachePolicy,
  type HttpCachePolicyOptions,
  type Tags,
} from './policy.ts';
export { answerCacheable, type AnswerCacheableOptions } from './answer-cacheable.ts';
export { entityTag, isNoneMatch } from './entity-tag.ts';
export { encodeTag, maxTagFieldBytes } from './tags.ts';
export type { Purger } from './purger.ts';
export { purgeRequestDefaults, type PurgeRequestOptions } from './purge-requests.ts';
export { fastlyPurger, type FastlyPurgerOptions } from './fastly.ts';
export { cloudflarePurger, type CloudflarePurgerOptions } from './cloudflare.ts';
export { requestPurger, requestPurgerDefaults, type RequestPurgerOptions } from './request-purger.ts';
