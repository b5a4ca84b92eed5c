import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { tellNotShared } from '../http-cache/answer-cacheable.ts';
import {
  cacheableAnswer,
  isPersonal,
  perClientFields,
  type CacheableAnswer,
  type FieldValue,
} from '../http-cache/fields.ts';
import { httpCachePolicy, type HttpCachePolicy, type HttpCachePolicyOptions } from '../http-cache/policy.ts';
import { currentContext } from '../kernel/context.ts';
import { validate } from '../kernel/validate.ts';
import type { Schema } from '../modules/contract.ts';
import { withTags, type Route } from './route.ts';
import type { SessionStore } from './session-store.ts';

/** What a query was asked and has answered, and how long that took since the request came. Milliseconds. */
export interface Queried {
  readonly input: unknown;
  readonly output: unknown;
  readonly tookMs: number;
}

/** What of a request and of the answer so far decides. */
interface Asking {
  readonly headers: IncomingHttpHeaders;
  readonly vary: FieldValue;
  /** Whether a cookie is set already. Default false. */
  readonly setsCookie?: boolean;
}

export interface RouteAnswer extends CacheableAnswer {
  readonly body: string;
}

/** How the answers of one route are written; for the gateway and Express alike. */
export class RouteCache {
  readonly #route: Route;
  readonly #policy: HttpCachePolicy;
  readonly #scope: object;
  readonly #cookies: readonly string[] | undefined;

  /** `cookies` say who asks, also those of a session that has ended; undefined: each may. */
  constructor(
    route: Route,
    cache: HttpCachePolicyOptions,
    scope: object,
    cookies: readonly string[] | undefined,
  ) {
    this.#route = route;
    this.#policy = httpCachePolicy(withTags(route, cache) as HttpCachePolicyOptions);
    this.#scope = scope;
    this.#cookies = cookies;
  }

  async answer(
    { headers, vary, setsCookie = false }: Asking,
    { input, output, tookMs }: Queried,
  ): Promise<RouteAnswer> {
    const { id, input: schema } = this.#route.operation;
    const body = output === undefined ? '' : JSON.stringify(output);
    const { principal, tenant } = currentContext()?.caller ?? {};
    const isKnown = principal !== undefined || tenant !== undefined;
    const isAnonymous = !isKnown && !setsCookie && !isPersonal(headers, this.#cookies);
    const answer = cacheableAnswer(this.#policy, {
      // As the schema makes it: from a spelling of the client, tags would be others than those that are purged.
      subject: isAnonymous
        ? await validate(schema as Schema, input, 'PL_INPUT_INVALID', `input of ${id}`)
        : input,
      value: output,
      body,
      ifNoneMatch: headers['if-none-match'],
      isAnonymous,
      tookMs,
      vary,
    });
    if (answer.problem !== undefined) tellNotShared(this.#policy, id, answer.problem, this.#scope);
    return { ...answer, body };
  }
}

type Write = (request: FastifyRequest, reply: FastifyReply, queried: Queried) => Promise<FastifyReply>;

/** For each route with `cache`. */
export function createRouteCaches(options: {
  readonly scope: object;
  readonly routes: readonly Route[];
  readonly sessions?: SessionStore;
}): ReadonlyMap<Route, Write> {
  const cookies = options.sessions === undefined ? [] : [options.sessions.cookieName];
  return new Map(
    options.routes.flatMap((route) => {
      if (route.cache === undefined) return [];
      const cache = new RouteCache(route, route.cache as HttpCachePolicyOptions, options.scope, cookies);
      const write: Write = async (request, reply, queried) => {
        const asking = { headers: request.headers, vary: reply.getHeader('vary') };
        const { status, headers, isShared, body } = await cache.answer(asking, queried);
        if (isShared) for (const field of perClientFields) reply.removeHeader(field);
        void reply.code(status).headers(headers);
        if (status === 304) return await reply.send();
        return await reply.type('application/json').send(body);
      };
      return [[route, write] as const];
    }),
  );
}
