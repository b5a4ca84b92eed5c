import type { AddressInfo } from 'node:net';
import cookie from '@fastify/cookie';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { httpRequests } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import { Cancellation } from '../kernel/cancellation.ts';
import {
  createContext,
  currentContext,
  runInContext,
  withCaller,
  type Caller,
  type RequestContext,
} from '../kernel/context.ts';
import { beforeDeadline } from '../kernel/deadline.ts';
import { replayedHeader } from '../idempotency/key.ts';
import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { createLifecycle, extendLifecycle, type Lifecycle } from '../kernel/lifecycle.ts';
import { rootSpan, type SpanNode } from '../kernel/trace.ts';
import type { AnyCommand, AnyOperation } from '../modules/contract.ts';
import { validate } from '../kernel/validate.ts';
import { runAsAttempt } from '../retry/header.ts';
import { shedFastify } from '../shed/attach.ts';
import { createShedder, type Shedder, type ShedderState } from '../shed/shedder.ts';
import { authentication } from './authentication.ts';
import { addCors, securityHeaders, serverLimits, watchAnswers, type AnswerWatch } from './hardening.ts';
import { allowedMethods, type AllowedMethods } from './methods.ts';
import { gatewayDefaults, gatewayProblems, type GatewayOptions } from './options.ts';
import { addOwnRoutes, watching } from './own-routes.ts';
import { declaredProblem, problemOf, retryAfterSeconds, type ProblemDetails } from './problem.ts';
import { routeClassOf } from './route-class.ts';
import { createRouteCaches } from './route-cache.ts';
import { createRouteLimits } from './route-limits.ts';
import { methodOf, successStatus, type Route } from './route.ts';
import { SeenExchange } from './seen-exchange.ts';
import { answerWithSeen, type RequestSeen } from './seen-hook.ts';
import { assertKey, keyOf, sentBy, type Sent } from './sent.ts';
import { factsOf, noFacts } from './shared-seen.ts';

export interface Gateway extends Lifecycle {
  /** Where it listens; PL_LIFECYCLE before start. */
  readonly url: string;
  readonly inFlight: number;
  /** What the shedder knows; undefined without one, and while the gateway does not listen. */
  shed(): ShedderState | undefined;
}

/** What is known of a request before its route runs. */
interface Arrival {
  readonly correlationId: string;
  readonly sent: Sent;
  readonly startedMs: number;
  readonly span: SpanNode;
  /** Told when the client goes away. */
  readonly cancellation: Cancellation;
  error: unknown;
  /** Set when its route begins. */
  seen: RequestSeen | undefined;
}

interface RouteConfig {
  readonly operation?: string;
  readonly isCached?: boolean;
}

const arrived = Symbol('plimsoll.arrival');
interface Arrived {
  [arrived]?: Arrival;
}

/** HTTP routes from operations, on Fastify, with limits on body, time and requests in flight. */
export function createGateway(options: GatewayOptions): Gateway {
  const settings = { ...gatewayDefaults, ...options };
  throwIfProblems('the gateway', gatewayProblems(options));
  const { scope } = options;
  const auth = authentication(options.authenticate, options.sessions);
  const authenticates = options.authenticate !== undefined || options.sessions !== undefined;
  const everyAnswer = securityHeaders(options.cors);
  const rateLimits = createRouteLimits(options, scope);
  const caches = createRouteCaches(options);
  const exchange =
    options.seen === false ? undefined : new SeenExchange(scope, options.seen ?? {}, options.settle);
  // Whether anything has to be known of who asks before a route runs.
  const identifies = authenticates || exchange?.shared !== undefined;
  let server: FastifyInstance | undefined;
  // With the server.
  let answers: AnswerWatch | undefined;
  let shedder: Shedder | undefined;
  let inFlight = 0;
  let draining = false;
  // Set while a drain waits for the last request; called by it.
  let onIdle: (() => void) | undefined;

  function arrive(request: FastifyRequest, reply: FastifyReply): void {
    const arrival = arrivalOf(request);
    (request as Arrived)[arrived] = arrival;
    void reply.headers(everyAnswer).header('x-correlation-id', arrival.correlationId);
    const internal = watching.has(request.routeOptions.url ?? '');
    const closed = answers?.opened(request, arrival.startedMs);
    if (!internal) inFlight += 1;
    // `close` comes exactly once, also when the client goes away before the answer.
    reply.raw.on('close', () => {
      if (!reply.raw.writableFinished)
        arrival.cancellation.cancel(new PlimsollError('PL_ABORTED', 'the client closed the connection'));
      closed?.();
      if (!internal) inFlight -= 1;
      if (inFlight === 0) onIdle?.();
      report(request, reply, arrival);
    });
    if (request.raw.rawHeaders.length / 2 > settings.maxHeaders) {
      throw new PlimsollError(
        'PL_HEADERS_TOO_LARGE',
        `the request has more than ${settings.maxHeaders} header fields; send fewer`,
      );
    }
    if (internal) return;
    if (draining)
      throw new PlimsollError('PL_DRAINING', 'the process is shutting down; send the request to another one');
    if (inFlight > settings.maxInFlight) {
      throw new PlimsollError(
        'PL_OVERLOADED',
        `${settings.maxInFlight} requests are under way, which is the limit; try again later`,
      );
    }
  }

  function report(request: FastifyRequest, reply: FastifyReply, arrival: Arrival): void {
    if (!httpRequests.hasSubscribers) return;
    httpRequests.publish({
      scope,
      method: request.method,
      route: request.routeOptions.url ?? '(unmatched)',
      operation: (request.routeOptions.config as RouteConfig).operation,
      // 499: the client went away before an answer was written.
      status: reply.raw.writableFinished ? reply.statusCode : 499,
      durationMs: systemClock.monotonicMs() - arrival.startedMs,
      correlationId: arrival.correlationId,
      span: arrival.span,
      error: arrival.error,
    });
  }

  function answer(reply: FastifyReply, problem: ProblemDetails, error?: unknown): FastifyReply {
    const retryAfter = retryAfterSeconds(problem, error);
    if (retryAfter !== undefined) void reply.header('retry-after', String(retryAfter));
    return reply.code(problem.status).type('application/problem+json').send(JSON.stringify(problem));
  }

  function refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const arrival = known(request);
    if (arrival !== undefined) arrival.error = error;
    // Caches have times of their own for what says none.
    if ((request.routeOptions.config as RouteConfig).isCached) void reply.header('cache-control', 'no-store');
    return answer(reply, problemOf(error, arrival?.correlationId ?? ''), error);
  }

  /** Always as JSON: left to itself, Fastify sends a string as text. */
  function succeed(reply: FastifyReply, status: number, output: unknown): FastifyReply {
    if (output === undefined) return reply.code(status).send();
    return reply.code(status).type('application/json').send(JSON.stringify(output));
  }

  function handle(route: Route): (request: FastifyRequest, reply: FastifyReply) => Promise<unknown> {
    const { operation } = route;
    return async (request, reply) => {
      const arrival = known(request) ?? arrivalOf(request);
      const context = requestContext(arrival, request);
      const input = inputOf(operation, request);
      const run = (): Promise<FastifyReply> =>
        beforeDeadline(context, identifies ? performAs(context) : perform(route, input, request, reply));
      const { attempt } = arrival.sent;
      return runInContext(context, attempt === undefined ? run : () => runAsAttempt(attempt, run));

      async function performAs(anonymous: RequestContext): Promise<FastifyReply> {
        const caller = await auth.whoIs(request);
        const identified = caller === undefined ? anonymous : withCaller(anonymous, caller);
        await loadSeen(arrival, request, caller);
        return runInContext(identified, () => perform(route, input, request, reply));
      }
    };
  }

  /** What the same user has seen in other tabs, on other devices. */
  async function loadSeen(
    { seen }: Arrival,
    request: FastifyRequest,
    caller: Caller | undefined,
  ): Promise<void> {
    const id = exchange?.idOf({ headers: request.headers, caller });
    if (id !== undefined && seen !== undefined) seen.visit = await exchange?.shared?.load(id, seen.seen);
  }

  async function perform(
    route: Route,
    input: unknown,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<FastifyReply> {
    const { operation } = route;
    await rateLimits.get(route)?.(request, reply);
    const sent = known(request)?.sent;
    if (operation.kind === 'command' && sent !== undefined)
      assertKey(sent.key, operation.id, route.requiresKey === true);
    if (route.enqueue === true && operation.kind === 'command') return accept(operation, input, reply);
    const result = await options.call(operation, input);
    noteReplay(reply);
    let output = result;
    if (operation.kind === 'command' && Object.keys(operation.errors as object).length > 0) {
      const outcome = result as { ok: true; value: unknown } | { ok: false; error: string; data: unknown };
      if (!outcome.ok) {
        const correlationId = known(request)?.correlationId ?? '';
        const status = route.errors?.[outcome.error] ?? 422;
        return answer(reply, declaredProblem(operation.id, outcome, status, correlationId));
      }
      output = outcome.value;
    }
    if (route.session === 'begin') {
      const caller = await auth.begin(request, reply, output);
      const arrival = known(request);
      const id = exchange?.idOf({ headers: request.headers, caller });
      if (arrival?.seen !== undefined && id !== undefined)
        arrival.seen.visit = exchange?.shared?.visit(id, arrival.seen.before);
    }
    if (route.session === 'end') await auth.end(request, reply);
    const cache = caches.get(route);
    if (cache !== undefined) {
      const tookMs = systemClock.monotonicMs() - (known(request)?.startedMs ?? 0);
      return await cache(request, reply, { input, output, tookMs });
    }
    return succeed(reply, successStatus(route), output);
  }

  /** Validated first: who is told "accepted" must not learn later that it could never have run. */
  async function accept(operation: AnyCommand, input: unknown, reply: FastifyReply): Promise<FastifyReply> {
    await validate(operation.input, input, 'PL_INPUT_INVALID', `input of ${operation.id}`);
    const jobId = await options.enqueue?.(operation, input);
    noteReplay(reply);
    return succeed(reply.header('location', `/-/jobs/${jobId}`), 202, { jobId });
  }

  function requestContext(arrival: Arrival, request: FastifyRequest): RequestContext {
    const { span, sent, cancellation, startedMs } = arrival;
    const { traceparent } = span.root;
    const taken = exchange?.take(request.headers, request.protocol === 'https');
    const context = createContext({
      span,
      caller: traceparent === undefined ? undefined : { traceparent },
      key: keyOf(sent.key),
      cancellation,
      deadlineAtMs: startedMs + Math.min(settings.requestTimeoutMs, sent.remainingMs ?? Infinity),
      seen: taken?.seen,
    });
    const before = exchange?.shared === undefined ? noFacts : factsOf(context.seen);
    // Who brings no token to a cached route gets none either: its answer may be anybody's.
    if (
      taken !== undefined ||
      exchange?.shared !== undefined ||
      !(request.routeOptions.config as RouteConfig).isCached
    )
      arrival.seen = { seen: context.seen, taken, before, visit: undefined };
    return context;
  }

  async function build(): Promise<FastifyInstance> {
    const app = fastify({
      logger: false,
      bodyLimit: settings.maxBodyBytes,
      // Cuts clients that send their request slowly.
      requestTimeout: settings.requestTimeoutMs,
      http: serverLimits(settings),
      trustProxy: options.trustProxy === undefined ? false : [...options.trustProxy],
      forceCloseConnections: 'idle',
      // A draining gateway refuses by itself, as a problem.
      return503OnClosing: false,
      routerOptions: { maxParamLength: 500 },
      // A path that cannot be read reaches no route and no hook.
      frameworkErrors(error, request, reply) {
        try {
          arrive(request, reply);
          void refuse(error, request, reply);
        } catch (refusal) {
          void refuse(refusal, request, reply);
        }
      },
    });
    // One more than is let through, so that one too many is seen: Node leaves out the rest in silence.
    app.server.maxHeadersCount = settings.maxHeaders + 1;
    app.decorateRequest(arrived, undefined);
    if (options.shed !== false) {
      // What waits for different things gets a limit of its own.
      shedder = createShedder({
        routeClass: routeClassOf(options.routes),
        ...options.shed,
        name: 'gateway',
        scope,
      });
      await app.register(shedFastify(shedder));
    }
    if (options.cors !== undefined) await addCors(app, options.cors);
    if (authenticates) await app.register(cookie);
    // JSON is the only body that is read.
    app.removeContentTypeParser('text/plain');
    app.addHook('onRequest', (request, reply, done) => {
      try {
        arrive(request, reply);
        done();
      } catch (error) {
        done(error as Error);
      }
    });
    if (exchange !== undefined) answerWithSeen(app, exchange, (request) => known(request)?.seen);
    app.setErrorHandler(refuse);
    const { telemetry, metrics, openapi, jobStatus, routes, rateLimit } = options;
    const isDraining = (): boolean => draining;
    const own = addOwnRoutes(app, {
      routes: rateLimit === undefined ? routes : routes.map((each) => ({ rateLimit, ...each })),
      draining: isDraining,
      ready: options.ready,
      telemetry,
      metrics,
      openapi,
      jobStatus,
    });
    const allowed = allowedMethods([
      ...own.map((path) => ({ method: 'GET' as const, path })),
      ...routes.map((route) => ({ method: methodOf(route), path: route.path })),
    ]);
    app.setNotFoundHandler((request, reply) => unanswered(allowed, request, reply));
    for (const route of options.routes) {
      app.route({
        method: methodOf(route),
        url: route.path,
        config: { operation: route.operation.id, isCached: route.cache !== undefined } satisfies RouteConfig,
        handler: handle(route),
      });
    }
    return app;
  }

  /** No route, or none of this method: OPTIONS is told what there is. */
  function unanswered(allowed: AllowedMethods, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const path = request.url.split('?', 1)[0] ?? '';
    // Telemetry sends strangers here by itself, with a method that it would have.
    const methods = allowed(path).filter((method) => method !== request.method || method === 'OPTIONS');
    const shown = `${request.method} ${request.url.slice(0, 200)}`;
    if (methods.length === 0)
      return refuse(new PlimsollError('PL_NOT_FOUND', `${shown}: no such route`), request, reply);
    void reply.header('allow', methods.join(', '));
    if (request.method === 'OPTIONS') return reply.code(204).send();
    const error = new PlimsollError('PL_METHOD_NOT_ALLOWED', `${shown}: allowed are ${methods.join(', ')}`);
    return refuse(error, request, reply);
  }

  const lifecycle = createLifecycle({
    name: 'gateway',
    async start() {
      draining = false;
      const building = await build();
      server = building;
      answers = watchAnswers(settings.requestTimeoutMs + settings.answerTimeoutMs);
      try {
        await building.listen({ host: settings.host, port: settings.port });
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
          throw new PlimsollError(
            'PL_LIFECYCLE',
            `port ${settings.port} of ${settings.host} is taken by another program; stop it or choose another with --port`,
            { cause: error },
          );
        }
        throw error;
      }
    },
    async drain() {
      draining = true;
      const { promise: idle, resolve } = Promise.withResolvers<void>();
      onIdle = resolve;
      if (inFlight === 0) resolve();
      const ended = new AbortController();
      // Not waited for: it also waits for connections that never send a request.
      server?.close().catch(() => undefined);
      await Promise.race([idle, systemClock.sleep(settings.drainMs, ended.signal)]);
      ended.abort();
      onIdle = undefined;
    },
    async stop() {
      const closing = server?.close();
      // First no new connections, so that none is missed by closing those there are.
      server?.server.close();
      server?.server.closeAllConnections();
      await closing;
      answers?.[Symbol.dispose]();
      answers = undefined;
      shedder = undefined;
      server = undefined;
    },
  });

  return extendLifecycle(lifecycle, {
    get url(): string {
      const address = server?.server.address() as AddressInfo | null | undefined;
      if (address === null || address === undefined)
        throw new PlimsollError('PL_LIFECYCLE', 'the gateway is not listening; start it first');
      return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
    },
    get inFlight(): number {
      return inFlight;
    },
    shed: () => shedder?.state(),
  });
}

function arrivalOf({ headers }: FastifyRequest): Arrival {
  const sent = sentBy(headers);
  const span = rootSpan(sent.correlationId, sent.traceparent);
  return {
    correlationId: span.root.correlationId,
    sent,
    startedMs: systemClock.monotonicMs(),
    span,
    cancellation: new Cancellation(),
    error: undefined,
    seen: undefined,
  };
}

/** Tells a client that what it gets was answered before. */
function noteReplay(reply: FastifyReply): void {
  if (currentContext()?.replayed === true) void reply.header(replayedHeader, 'true');
}

/** What was learnt at its arrival; undefined for a request that reached no hook. */
function known(request: FastifyRequest): Arrival | undefined {
  return (request as Arrived)[arrived];
}

function inputOf(operation: AnyOperation, request: FastifyRequest): unknown {
  const params = request.params as Record<string, unknown>;
  const rest = operation.kind === 'query' ? request.query : request.body;
  if (Object.keys(params).length === 0) return rest ?? {};
  if (typeof rest !== 'object' || Array.isArray(rest)) return rest ?? params;
  return { ...rest, ...params };
}
