import type { IncomingMessage, ServerResponse } from 'node:http';
import type { SeenOptions, Settle, TakenSeen } from '../gateway/seen-exchange.ts';
import type { RequestSeen } from '../gateway/seen-hook.ts';
import { keyOf, sentBy, type Sent } from '../gateway/sent.ts';
import { factsOf, noFacts } from '../gateway/shared-seen.ts';
import { Cancellation } from '../kernel/cancellation.ts';
import { httpRequests } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import { createContext, type Caller, type RequestContext } from '../kernel/context.ts';
import { isPlimsollError, PlimsollError } from '../kernel/errors.ts';
import { rootSpan } from '../kernel/trace.ts';
import { answerWithSeen, isHttps, saveBeforeEnd, seenExchangeOf } from './seen.ts';

export interface ContextOptions {
  /** A running app: then its telemetry counts these requests too. */
  readonly app?: { readonly database: { readonly scope: object; readonly settle?: Settle } };
  /** Longest time for one request, from this middleware to the answer. Default 10_000. */
  readonly requestTimeoutMs?: number;
  /**
   * Whether what a client has seen travels from its answer to its next request, as in the gateway. `false`: each
   * request begins anew. Default in the header `Plimsoll-Seen`.
   */
  readonly seen?: SeenOptions | false;
  /**
   * Who asks; undefined is nobody known. Gets the request of your framework, and is asked at each call, so that
   * it sees what an authentication after the middleware has found. Throw `PL_UNAUTHENTICATED` to refuse the
   * call. Default nobody.
   */
  caller?(request: object): Caller | undefined;
}

export const expressDefaults = { requestTimeoutMs: 10_000, maxBodyBytes: 1_048_576 } as const;

/** What is known of a request from its arrival to its answer. */
export interface Arrival {
  readonly context: RequestContext;
  readonly sent: Sent;
  /** What `caller` and the pattern are read from. Set again where a framework has another for its handlers. */
  request: object;
  /** Set by a mounted route, for telemetry. */
  operation?: string;
  error?: unknown;
  /** To be awaited before an answer, where one can wait: takes the positions that were put off. Never rejects. */
  settle(): Promise<void>;
  /** What the same user has seen elsewhere, once it is known who asks; undefined when there is nothing to wait for. */
  load(): Promise<void> | undefined;
}

/** The pattern of the route that answers; undefined when none does. */
export type PatternOf = (request: object) => string | undefined;

// By request and not by async context alone: a middleware between may lose that, but never the request.
const arrivals = new WeakMap<IncomingMessage, Arrival>();

/** Of a request that has arrived already. */
export const arrivalOf = (request: IncomingMessage): Arrival | undefined => arrivals.get(request);

/** The request's one arrival, made when it is first asked for. */
export function arrive(
  request: IncomingMessage,
  response: ServerResponse,
  options: ContextOptions,
  patternOf: PatternOf,
): Arrival {
  const known = arrivals.get(request);
  if (known !== undefined) return known;
  const startedMs = systemClock.monotonicMs();
  const scope = scopeOf(options);
  const cancellation = new Cancellation();
  const sent = sentBy(request.headers);
  const ownMs = options.requestTimeoutMs ?? expressDefaults.requestTimeoutMs;
  const exchange = seenExchangeOf(options, scope);
  const taken = exchange?.take(request.headers, isHttps(request));
  const deadlineAtMs = startedMs + Math.min(ownMs, sent.remainingMs ?? Infinity);
  const context = contextOf(sent, cancellation, deadlineAtMs, taken);
  const { seen } = context;
  const arrival: Arrival = {
    sent,
    context: withCaller(context, options, () => arrival.request),
    request,
    async settle() {
      if (exchange?.hasNews(seen, taken) === true) await exchange.settle(seen);
    },
    load() {
      if (exchange?.shared === undefined || requestSeen.visit !== undefined) return undefined;
      const id = exchange.idOf({ headers: request.headers, caller: context.caller });
      if (id === undefined) return undefined;
      return exchange.shared.load(id, seen).then((visit) => void (requestSeen.visit = visit));
    },
  };
  const requestSeen: RequestSeen = {
    seen,
    taken,
    before: exchange?.shared === undefined ? noFacts : factsOf(seen),
    visit: undefined,
  };
  if (exchange !== undefined) answerWithSeen(response, exchange, requestSeen, request);
  if (exchange?.shared !== undefined) saveBeforeEnd(response, exchange, requestSeen);
  arrivals.set(request, arrival);
  response.setHeader('x-correlation-id', context.correlationId);
  // `close` comes exactly once, also when the client goes away before the answer.
  response.once('close', () => {
    if (!response.writableFinished)
      cancellation.cancel(new PlimsollError('PL_ABORTED', 'the client closed the connection'));
    if (scope !== undefined) report(request, response, arrival, startedMs, scope, patternOf);
  });
  return arrival;
}

function contextOf(
  { correlationId, traceparent, key }: Sent,
  cancellation: Cancellation,
  deadlineAtMs: number,
  taken: TakenSeen | undefined,
): RequestContext {
  return createContext({
    seen: taken?.seen,
    span: rootSpan(correlationId, traceparent),
    caller: traceparent === undefined ? undefined : { traceparent },
    key: keyOf(key),
    cancellation,
    deadlineAtMs,
  });
}

/** Asked when it is read: who asks is often known only after this middleware. */
function withCaller(
  context: RequestContext,
  options: ContextOptions,
  requestNow: () => object,
): RequestContext {
  if (options.caller === undefined) return context;
  const { caller: traced } = context;
  return Object.defineProperty(context, 'caller', {
    enumerable: true,
    get: (): Caller => ({ ...traced, ...options.caller?.(requestNow()) }),
  });
}

function report(
  request: IncomingMessage,
  response: ServerResponse,
  arrival: Arrival,
  startedMs: number,
  scope: object,
  patternOf: PatternOf,
): void {
  if (!httpRequests.hasSubscribers) return;
  httpRequests.publish({
    scope,
    method: request.method ?? '',
    // The pattern, never the raw path, which would make a series of each id.
    route: patternOf(arrival.request) ?? '(unmatched)',
    operation: arrival.operation,
    // 499: the client went away before an answer was written.
    status: response.writableFinished ? response.statusCode : 499,
    durationMs: systemClock.monotonicMs() - startedMs,
    correlationId: arrival.context.correlationId,
    span: arrival.context.span,
    error: arrival.error,
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
