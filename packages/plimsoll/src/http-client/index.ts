/**
 * `plimsoll/http-client`: requests to one other server, over undici, through one policy.
 *
 * Guarantee: each request keeps the deadline of the request it is made for and stops with it; it is made again only
 * where that is safe (GET, HEAD, OPTIONS, or with an idempotency key); the breaker, the bulkhead and the time of an
 * attempt are those of a policy; the answer is bounded. It goes to the client's own origin and to no other.
 *
 * Authoritative: the other server. An answer with a 2xx, 3xx or 4xx is a value; 408, 429 and 5xx are failures.
 *
 * Not promised: that a request that was thrown had no effect, unless `data.sent` is `no`. No redirect is followed, no
 * answer is decompressed, and nothing is said of the address that the origin's name leads to.
 *
 * On failure: PL_REMOTE_FAILED for an answer, PL_NETWORK where there was none, or the refusal of a guard
 * (PL_BREAKER_OPEN, PL_BULKHEAD_FULL, PL_TIMEOUT, PL_DEADLINE, PL_ABORTED); `data` has what was asked, how often, and
 * whether it was sent.
 */
export { createHttpClient, type HttpClient, type HttpClientState } from './http-client.ts';
export { httpClientDefaults, type HttpClientOptions } from './options.ts';
export type { HttpAnswer } from './answer.ts';
export type { Sent } from './exchange.ts';
export type { HttpMethod, HttpRequestOptions, QueryValue } from './request.ts';
