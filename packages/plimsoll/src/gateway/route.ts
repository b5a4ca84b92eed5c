import { httpCacheProblems, type HttpCachePolicyOptions } from '../http-cache/policy.ts';
import type { Problem } from '../kernel/errors.ts';
import type { AnyOperation, Output, Schema } from '../modules/contract.ts';
import type { RouteRateLimit } from './route-rate-limit.ts';

/** What the tags of a cached route are made from: the input as the schema gives it, and the answer. */
type RouteCache<Op extends AnyOperation> = Op extends {
  readonly input: infer I extends Schema;
  readonly output: infer O;
}
  ? TaggedBy<Op, HttpCachePolicyOptions<Output<I>, O extends Schema ? Output<O> : undefined>>
  : HttpCachePolicyOptions;
/** A query whose contract says its tags need not say them again. */
type TaggedBy<Op, Options extends { readonly tags: unknown }> = Op extends {
  readonly tags: (input: never) => readonly string[];
}
  ? Omit<Options, 'tags'> & Partial<Pick<Options, 'tags'>>
  : Options;

export interface RouteOptions<Op extends AnyOperation = AnyOperation> {
  /** Status of success. Default 200, or 204 for a command without output. */
  readonly status?: number;
  /** Status of each declared error. Default 422. */
  readonly errors?: Readonly<Record<string, number>>;
  /** Answer 202 with the id of a job that runs the command later. Default false. */
  readonly enqueue?: boolean;
  /** Whether a command without `Idempotency-Key` is refused with 400. Default false. */
  readonly requiresKey?: boolean;
  /**
   * `begin`: a success of the command logs its output's `principal` (and `tenant`) in, under a new session.
   * `end`: a success logs out. Default: the session stays as it is.
   */
  readonly session?: 'begin' | 'end';
  /** Default that of the gateway, if it has one. */
  readonly rateLimit?: RouteRateLimit;
  /**
   * How shared caches and browsers keep the answers of a query to whoever says nothing of himself; see
   * `plimsoll/http-cache`. `ETag` and 304 then work for everybody. Default: nothing is said to caches.
   */
  readonly cache?: RouteCache<Op>;
}

/** An operation under a path. A query is GET, a command is POST: the method follows from what it is. */
export interface Route<Op extends AnyOperation = AnyOperation> extends RouteOptions<Op> {
  /** Fastify's pattern: `/products/:sku`. */
  readonly path: string;
  readonly operation: Op;
}

/**
 * A query's input is its path parameters and query string; a command's is its JSON body and path
 * parameters. Both come as the schema makes them: use coercing schemas for numbers in a query string.
 */
export function route<Op extends AnyOperation>(
  path: string,
  operation: Op,
  options: RouteOptions<Op> = {},
): Route<Op> {
  return { path, operation, ...options };
}

export function methodOf({ operation }: Route): 'GET' | 'POST' {
  return operation.kind === 'query' ? 'GET' : 'POST';
}

/** Status of a success: 202 for what is only accepted, 204 for a command without output. */
export function successStatus(route: Route): number {
  if (route.enqueue === true) return 202;
  const empty = route.operation.kind === 'command' && route.operation.output === undefined;
  return route.status ?? (empty ? 204 : 200);
}

/** What one route asks for that cannot be, whatever the plan is. */
export function routeProblems(route: Route, path: string): readonly Problem[] {
  const { operation, enqueue = false, session, cache } = route;
  const problems: Problem[] = [];
  if (enqueue && operation.kind === 'query')
    problems.push({ path, message: `${operation.id} is a query; only a command can be enqueued` });
  if (enqueue && route.status !== undefined)
    problems.push({
      path: `${path}.status`,
      message: 'an enqueued command is answered with 202; leave it out',
    });
  if (enqueue && route.errors !== undefined)
    problems.push({
      path: `${path}.errors`,
      message: 'an enqueued command has not failed yet when it is answered; leave it out',
    });
  if (session !== undefined && (operation.kind === 'query' || enqueue))
    problems.push({
      path,
      message: `${operation.id} cannot ${session} a session; only a command that is run at once can`,
    });
  if (route.requiresKey === true && operation.kind === 'query')
    problems.push({
      path: `${path}.requiresKey`,
      message: `${operation.id} is a query, which may be sent again without a key; leave it out`,
    });
  if (cache !== undefined)
    problems.push(...cacheProblems(route, cache as HttpCachePolicyOptions<never>, `${path}.cache`));
  return problems;
}

/** With the tags of the contract, where the route gives none. */
export function withTags(
  { operation }: Route,
  cache: HttpCachePolicyOptions<never>,
): HttpCachePolicyOptions<never> {
  const { tags } = operation as { readonly tags?: HttpCachePolicyOptions<never>['tags'] };
  return tags === undefined ? cache : { ...cache, tags: cache.tags ?? tags };
}

function cacheProblems(route: Route, cache: HttpCachePolicyOptions<never>, path: string): readonly Problem[] {
  const { id, kind } = route.operation;
  const problems = [...httpCacheProblems(withTags(route, cache), path)];
  if (kind === 'command')
    problems.push({ path, message: `${id} is a command; only what a query answers can be kept` });
  else if (successStatus(route) !== 200)
    problems.push({ path, message: `its status is ${successStatus(route)}; only a 200 can be kept` });
  return problems;
}
