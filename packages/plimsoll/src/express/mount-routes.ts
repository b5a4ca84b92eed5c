import type { IncomingMessage, ServerResponse } from 'node:http';
import express from 'express';
import { runInContext } from '../kernel/context.ts';
import { beforeDeadline } from '../kernel/deadline.ts';
import { writeCacheable } from '../http-cache/answer-cacheable.ts';
import type { HttpCachePolicyOptions } from '../http-cache/policy.ts';
import { systemClock } from '../kernel/clock.ts';
import { isPlimsollError, PlimsollError, throwIfProblems, type ErrorCode } from '../kernel/errors.ts';
import type { AnyOperation } from '../modules/contract.ts';
import { replayedHeader } from '../idempotency/key.ts';
import { declaredProblem, problemOf } from '../gateway/problem.ts';
import { RouteCache } from '../gateway/route-cache.ts';
import { routeProblems, type Route } from '../gateway/route.ts';
import { assertKey } from '../gateway/sent.ts';
import type { SeenOptions } from '../gateway/seen-exchange.ts';
import { answer, answerProblem } from './answer.ts';
import { arrive, expressDefaults, type Arrival } from './arrival.ts';
import { expressPattern } from './context.ts';
import { checkSeen } from './seen.ts';

/** What a handler reads of Express's request. */
interface Request extends IncomingMessage {
  readonly params: Readonly<Record<string, unknown>>;
  readonly query: unknown;
  readonly body?: unknown;
}
type Next = (error?: unknown) => void;
type Handler = (request: Request, response: ServerResponse, next: Next) => void;
type AddRoute = (path: string, ...handlers: readonly Handler[]) => unknown;

/** An Express app or router. */
export interface MountTarget {
  readonly get: unknown;
  readonly post: unknown;
}

export interface MountOptions {
  /** For requests that did not come through `plimsollContext`, whose limit holds otherwise. Default 10_000. */
  readonly requestTimeoutMs?: number;
  /** The same. Default in the header `Plimsoll-Seen`. */
  readonly seen?: SeenOptions | false;
  readonly routes: readonly Route[];
  /** Largest request body, where no parser of yours has read it before. Default 1 MiB. */
  readonly maxBodyBytes?: number;
  /** Of routes with `cache`: names of the cookies that say who asks. Others then make no difference. Default: each may. */
  readonly cookies?: readonly string[];
}

/** A route, and how its answers are kept. */
interface MountedRoute {
  readonly route: Route;
  readonly cache: RouteCache | undefined;
}

/** Anything that calls operations: an app, started with `listen: false`. */
export interface Callable {
  readonly call: (operation: AnyOperation, input: unknown) => Promise<unknown>;
}

/**
 * Serves operations of an app under an Express app or router: a query is GET, a command is POST, as in the
 * gateway. Start the app yourself, before the first request, and stop it after the last one.
 */
export function mountRoutes(app: Callable, router: MountTarget, options: MountOptions): void {
  checkSeen(options);
  const readJson = express.json({
    limit: options.maxBodyBytes ?? expressDefaults.maxBodyBytes,
    // Any JSON: what it must be is for the operation's schema to say.
    strict: false,
  }) as unknown as Handler;
  for (const [index, route] of options.routes.entries()) {
    if (route.cache !== undefined) throwIfProblems('the routes', routeProblems(route, `routes[${index}]`));
    const cache =
      route.cache === undefined
        ? undefined
        : new RouteCache(route, route.cache as HttpCachePolicyOptions, app, options.cookies);
    const handle: Handler = (request, response, next) =>
      void serve(app, { route, cache }, request, response, next, options);
    if (route.operation.kind === 'query') (router.get as AddRoute)(route.path, handle);
    else (router.post as AddRoute)(route.path, readBody(readJson, route, options), handle);
  }
}

/** Reads the body unless a parser of the user has; what cannot be read is a problem. */
function readBody(readJson: Handler, route: Route, options: MountOptions): Handler {
  return (request, response, next) => {
    const arrival = arrive(request, response, options, expressPattern);
    arrival.operation = route.operation.id;
    const { 'content-length': length, 'transfer-encoding': encoding, 'content-type': type } = request.headers;
    const hasBody = encoding !== undefined || (length !== undefined && length !== '0');
    if (hasBody && !/^application\/json\s*(;|$)/i.test(type ?? '')) {
      const refused = new PlimsollError(
        'PL_UNSUPPORTED_MEDIA',
        `the body is ${type ?? 'of no type'}; send JSON`,
      );
      answerError(response, arrival, refused);
      return;
    }
    readJson(request, response, (error) => {
      if (error === undefined || error === null) next();
      else answerError(response, arrival, unreadable(error));
    });
  };
}

async function serve(
  app: Callable,
  { route, cache }: MountedRoute,
  request: Request,
  response: ServerResponse,
  next: Next,
  options: MountOptions,
): Promise<void> {
  const startedMs = systemClock.monotonicMs();
  const { operation } = route;
  const arrival = arrive(request, response, options, expressPattern);
  arrival.operation = operation.id;
  const { context } = arrival;
  try {
    if (operation.kind === 'command') assertKey(arrival.sent.key, operation.id, route.requiresKey === true);
    const input = inputOf(operation, request);
    const result = await runInContext(context, () =>
      beforeDeadline(context, callOnceLoaded(app, arrival, operation, input)),
    );
    await arrival.settle();
    if (context.replayed && !response.headersSent) response.setHeader(replayedHeader, 'true');
    if (cache !== undefined) {
      const tookMs = systemClock.monotonicMs() - startedMs;
      const asking = {
        headers: request.headers,
        vary: response.getHeader('vary'),
        setsCookie: response.hasHeader('set-cookie'),
      };
      const kept = await runInContext(context, () => cache.answer(asking, { input, output: result, tookMs }));
      // The client has gone, or a handler of the user has answered.
      if (response.destroyed || response.headersSent) return;
      writeCacheable(request, response, kept, { type: 'application/json', body: kept.body });
      return;
    }
    const emptyStatus = operation.kind === 'command' && operation.output === undefined ? 204 : 200;
    const status = route.status ?? emptyStatus;
    if (operation.kind === 'query' || Object.keys(operation.errors as object).length === 0) {
      answer(response, status, 'application/json', result);
      return;
    }
    const outcome = result as { ok: true; value: unknown } | { ok: false; error: string; data: unknown };
    if (outcome.ok) answer(response, status, 'application/json', outcome.value);
    else {
      const failed = route.errors?.[outcome.error] ?? 422;
      answerProblem(response, declaredProblem(operation.id, outcome, failed, context.correlationId));
    }
  } catch (error) {
    await arrival.settle();
    // Caches have times of their own for what says none.
    if (cache !== undefined && !response.headersSent) response.setHeader('cache-control', 'no-store');
    // A bug, or an error of another library: the user's error handler sees it as from any other route.
    if (isPlimsollError(error)) answerError(response, arrival, error);
    else {
      arrival.error = error;
      next(error);
    }
  }
}

async function callOnceLoaded(
  app: Callable,
  arrival: Arrival,
  operation: AnyOperation,
  input: unknown,
): Promise<unknown> {
  await arrival.load();
  return app.call(operation, input);
}

/** Path parameters join the query string or the body, and win over them. */
function inputOf(operation: AnyOperation, { params, query, body }: Request): unknown {
  const rest = operation.kind === 'query' ? query : body;
  if (Object.keys(params).length === 0) return rest ?? {};
  if (rest !== undefined && (typeof rest !== 'object' || Array.isArray(rest))) return rest;
  return { ...rest, ...params };
}

const byStatus: Readonly<Record<number, ErrorCode>> = {
  413: 'PL_BODY_TOO_LARGE',
  415: 'PL_UNSUPPORTED_MEDIA',
};

/** An error of Express's JSON parser; its status says what was wrong with the body. */
function unreadable(error: unknown): PlimsollError {
  const { status, message } = error as { status?: number; message?: string };
  return new PlimsollError(
    byStatus[status ?? 400] ?? 'PL_BAD_REQUEST',
    message ?? 'the body cannot be read',
    {
      cause: error,
    },
  );
}

function answerError(response: ServerResponse, arrival: Arrival, error: PlimsollError): void {
  arrival.error = error;
  answerProblem(response, problemOf(error, arrival.context.correlationId), error);
}
