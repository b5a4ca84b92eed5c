import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { httpRequests } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import { createContext, runInContext, type RequestContext } from '../kernel/context.ts';
import { isPlimsollError, PlimsollError } from '../kernel/errors.ts';

export interface ContextOptions {
  /** A running app: then its telemetry counts these requests too. */
  readonly app?: { readonly database: { readonly scope: object } };
  /** Longest time for one request, from this middleware to the answer. Default 10_000. */
  readonly requestTimeoutMs?: number;
}

export const expressDefaults = { requestTimeoutMs: 10_000, maxBodyBytes: 1_048_576 } as const;

/** What is known of a request from its arrival to its answer. */
export interface Arrival {
  readonly context: RequestContext;
  /** Set by a mounted route, for telemetry. */
  operation?: string;
  error?: unknown;
}

// By request and not by async context alone: a middleware between may lose that, but never the request.
const arrivals = new WeakMap<IncomingMessage, Arrival>();
const safeId = /^[\w.:-]{1,128}$/;

type Next = (error?: unknown) => void;
type Pattern = string | RegExp;

/** Express middleware. Put it first, so that the deadline counts from the start of the request. */
export function plimsollContext(
  options: ContextOptions = {},
): (request: IncomingMessage, response: ServerResponse, next: Next) => void {
  return (request, response, next) => {
    const { context } = arrive(request, response, options);
    runInContext(context, () => next());
  };
}

/** The request's one arrival, made when it is first asked for. */
export function arrive(request: IncomingMessage, response: ServerResponse, options: ContextOptions): Arrival {
  const known = arrivals.get(request);
  if (known !== undefined) return known;
  const startedMs = systemClock.monotonicMs();
  const scope = scopeOf(options);
  const gone = new AbortController();
  const { 'x-correlation-id': givenId, 'idempotency-key': givenKey } = request.headers;
  const arrival: Arrival = {
    context: createContext({
      correlationId: typeof givenId === 'string' && safeId.test(givenId) ? givenId : randomUUID(),
      // Never the correlation id: one of those may span several requests, which are not the same work.
      ...(typeof givenKey === 'string' && givenKey !== '' && givenKey.length <= 255 ? { key: givenKey } : {}),
      signal: gone.signal,
      deadlineAtMs: startedMs + (options.requestTimeoutMs ?? expressDefaults.requestTimeoutMs),
    }),
  };
  arrivals.set(request, arrival);
  response.setHeader('x-correlation-id', arrival.context.correlationId);
  // `close` comes exactly once, also when the client goes away before the answer.
  response.once('close', () => {
    if (!response.writableFinished)
      gone.abort(new PlimsollError('PL_ABORTED', 'the client closed the connection'));
    if (scope !== undefined) report(request, response, arrival, startedMs, scope);
  });
  return arrival;
}

function report(
  request: IncomingMessage & {
    readonly baseUrl?: string;
    readonly route?: { readonly path?: Pattern | readonly Pattern[] };
  },
  response: ServerResponse,
  arrival: Arrival,
  startedMs: number,
  scope: object,
): void {
  if (!httpRequests.hasSubscribers) return;
  const { path } = request.route ?? {};
  httpRequests.publish({
    scope,
    method: request.method ?? '',
    // The pattern, never the raw path, which would make a series of each id.
    route: path === undefined ? '(unmatched)' : `${request.baseUrl ?? ''}${patternOf(path)}`,
    operation: arrival.operation,
    // 499: the client went away before an answer was written.
    status: response.writableFinished ? response.statusCode : 499,
    durationMs: systemClock.monotonicMs() - startedMs,
    correlationId: arrival.context.correlationId,
    ...(arrival.error === undefined ? {} : { error: arrival.error }),
  });
}

/** An app that does not run has no telemetry to count in; the user's own routes work without it. */
function scopeOf({ app }: ContextOptions): object | undefined {
  try {
    return app?.database.scope;
  } catch (error) {
    if (isPlimsollError(error, 'PL_LIFECYCLE')) return undefined;
    throw error;
  }
}

/** Express takes a pattern, a regular expression, or a list of them. */
function patternOf(path: Pattern | readonly Pattern[]): string {
  if (typeof path === 'string') return path;
  return path instanceof RegExp ? path.source : path.map(patternOf).join(',');
}
