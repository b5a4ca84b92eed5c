import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Problem } from '../kernel/errors.ts';
import { rateLimitHook } from '../rate-limit/http.ts';
import { createRateLimit } from '../rate-limit/rate-limit.ts';
import type { RateLimitStore } from '../rate-limit/store.ts';
import { rateLimitOptions, routeRateLimitProblems, type RouteRateLimit } from './route-rate-limit.ts';
import type { Route } from './route.ts';

/** Throws PL_RATE_LIMITED where a request is one too many. */
type Check = (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

export interface RouteLimitOptions {
  readonly routes: readonly Route[];
  /** For all routes that have none of their own; they share it. */
  readonly rateLimit?: RouteRateLimit;
  /** Where limits with the store `database` count. */
  readonly rateLimitDatabase?: RateLimitStore;
}

/** What each route asks before it runs. */
export function createRouteLimits(options: RouteLimitOptions, scope: object): ReadonlyMap<Route, Check> {
  const checks = new Map<string, Check>();
  return new Map(
    limitsOf(options).map(({ route, limit, name }) => {
      let check = checks.get(name);
      if (check === undefined) {
        check = rateLimitHook(
          createRateLimit({ ...rateLimitOptions(limit, name, options.rateLimitDatabase), scope }),
        );
        checks.set(name, check);
      }
      return [route, check];
    }),
  );
}

/** Whether any limit counts in the app's database. */
export const countsInDatabase = (options: RouteLimitOptions): boolean =>
  limitsOf(options).some(({ limit }) => limit.store === 'database');

export function routeLimitProblems(options: RouteLimitOptions): readonly Problem[] {
  const problems: Problem[] = [];
  const known = new Map<string, RouteRateLimit>();
  for (const { limit, name, path } of limitsOf(options)) {
    const earlier = known.get(name);
    if (earlier === limit) continue;
    if (earlier !== undefined)
      problems.push({
        path: `${path}.name`,
        message: `"${name}" is the name of another limit too; give it one`,
      });
    known.set(name, limit);
    problems.push(...routeRateLimitProblems(limit, name, path));
  }
  return problems;
}

interface NamedLimit {
  readonly route: Route;
  readonly limit: RouteRateLimit;
  readonly name: string;
  readonly path: string;
}

function limitsOf({ routes, rateLimit }: RouteLimitOptions): readonly NamedLimit[] {
  return routes.flatMap((route, index): NamedLimit[] => {
    if (route.rateLimit !== undefined) {
      const { rateLimit: limit, operation } = route;
      const name = limit.name ?? operation.id.replaceAll('.', '-').slice(-40);
      return [{ route, limit, name, path: `routes[${index}].rateLimit` }];
    }
    return rateLimit === undefined
      ? []
      : [{ route, limit: rateLimit, name: rateLimit.name ?? 'http', path: 'rateLimit' }];
  });
}
