import type { Problem } from '../kernel/errors.ts';
import type { ClientRequest } from '../rate-limit/client-key.ts';
import { memoryStore } from '../rate-limit/memory-store.ts';
import { rateLimitProblems, type RateLimitOptions } from '../rate-limit/rate-limit.ts';
import type { RateLimitStore } from '../rate-limit/store.ts';

/** At most so many requests. What is refused is answered with 429, `Retry-After` and the fields `RateLimit`. */
export interface RouteRateLimit extends Pick<
  RateLimitOptions<ClientRequest>,
  'rules' | 'whenStoreFails' | 'storeTimeoutMs' | 'denyForMs'
> {
  /** One limit has one name. Default the operation: `orders-place`; `http` for that of all routes. */
  readonly name?: string;
  /** Where the counters are: `database` is the app's, for several processes. Default in this process. */
  readonly store?: RateLimitStore | 'database';
}

/** As the limit itself takes them; `database` is the store of the app's database. */
export function rateLimitOptions(
  { store, ...limit }: RouteRateLimit,
  name: string,
  database: RateLimitStore | undefined,
): RateLimitOptions<ClientRequest> {
  const where = store === 'database' ? database : store;
  return { ...limit, name: limit.name ?? name, ...(where === undefined ? {} : { store: where }) };
}

/** What a limit asks for that cannot be, whatever the plan is. */
export function routeRateLimitProblems(
  limit: RouteRateLimit,
  name: string,
  path: string,
): readonly Problem[] {
  const shared = { ...memoryStore(), shared: true };
  return rateLimitProblems(rateLimitOptions(limit, name, shared)).map((problem) => ({
    path: `${path}.${problem.path}`,
    message: problem.message,
  }));
}
