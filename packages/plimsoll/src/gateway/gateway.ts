import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { httpRequests } from '../kernel/channels.ts';
import { systemClock } from '../kernel/clock.ts';
import { createContext, runInContext, type RequestContext } from '../kernel/context.ts';
import { beforeDeadline } from '../kernel/deadline.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { createLifecycle, extendLifecycle, type Lifecycle } from '../kernel/lifecycle.ts';
import type { AnyOperation } from '../modules/contract.ts';
import { declaredProblem, invitesRetry, problemOf, type ProblemDetails } from './problem.ts';
import type { Route } from './route.ts';

export interface GatewayOptions {
  readonly scope: object;
  readonly routes: readonly Route[];
  readonly call: (operation: AnyOperation, input: unknown) => Promise<unknown>;
  /** Rejects when the process cannot serve; asked by `/readyz`. */
  readonly ready: () => Promise<void>;
  /** Answers `/-/telemetry`, to loopback only. */
  readonly telemetry?: (lastMs: number) => Promise<unknown>;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 takes any free port. Default 3000. */
  readonly port?: number;
  /** Largest request body. Default 1 MiB. */
  readonly maxBodyBytes?: number;
  /** Longest time for one request, from its headers to the answer. Default 10_000. */
  readonly requestTimeoutMs?: number;
  /** Requests under way at once; more are refused with 503 and Retry-After. Default 512. */
  readonly maxInFlight?: number;
  /** How long a draining gateway waits for requests under way. Default 10_000. */
  readonly drainMs?: number;
}

export const gatewayDefaults = {
  host: '127.0.0.1',
  port: 3000,
  maxBodyBytes: 1_048_576,
  requestTimeoutMs: 10_000,
  maxInFlight: 512,
  drainMs: 10_000,
} as const;

export interface Gateway extends Lifecycle {
  /** Where it listens; PL_LIFECYCLE before start. */
  readonly url: string;
  readonly inFlight: number;
}

/** What is known of a request before its route runs. */
interface Arrival {
  readonly correlationId: string;
  readonly startedMs: number;
  error?: unknown;
}

const safeId = /^[\w.:-]{1,128}$/;
const loopback = new Set(['127.0.0.1', '::1', '::ffff:127.0.0.1']);

/** HTTP routes from operations, on Fastify, with limits on body, time and requests in flight. */
export function createGateway(options: GatewayOptions): Gateway {
  const settings = { ...gatewayDefaults, ...options };
  const { scope } = options;
  const arrivals = new WeakMap<FastifyRequest, Arrival>();
  let server: FastifyInstance | undefined;
  let inFlight = 0;
  let draining = false;
  // Set while a drain waits for the last request; called by it.
  let onIdle: (() => void) | undefined;

  function arrive(request: FastifyRequest, reply: FastifyReply): void {
    const given = request.headers['x-correlation-id'];
    const arrival: Arrival = {
      correlationId: typeof given === 'string' && safeId.test(given) ? given : randomUUID(),
      startedMs: systemClock.monotonicMs(),
    };
    arrivals.set(request, arrival);
    void reply.header('x-correlation-id', arrival.correlationId);
    const internal = isInternal(request);
    if (!internal) inFlight += 1;
    // `close` comes exactly once, also when the client goes away before the answer.
    reply.raw.once('close', () => {
      if (!internal) inFlight -= 1;
      if (inFlight === 0) onIdle?.();
      report(request, reply, arrival);
    });
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
    const operation = request.routeOptions.config as { operation?: string };
    httpRequests.publish({
      scope,
      method: request.method,
      route: request.routeOptions.url ?? '(unmatched)',
      operation: operation.operation,
      // 499: the client went away before an answer was written.
      status: reply.raw.writableFinished ? reply.statusCode : 499,
      durationMs: systemClock.monotonicMs() - arrival.startedMs,
      correlationId: arrival.correlationId,
      ...(arrival.error === undefined ? {} : { error: arrival.error }),
    });
  }

  function answer(reply: FastifyReply, problem: ProblemDetails): FastifyReply {
    if (invitesRetry(problem)) void reply.header('retry-after', '1');
    return reply.code(problem.status).type('application/problem+json').send(JSON.stringify(problem));
  }

  function refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const arrival = arrivals.get(request);
    if (arrival !== undefined) arrival.error = error;
    return answer(reply, problemOf(error, arrival?.correlationId ?? ''));
  }

  /** Always as JSON: left to itself, Fastify sends a string as text. */
  function succeed(reply: FastifyReply, status: number, output: unknown): FastifyReply {
    if (output === undefined) return reply.code(status).send();
    return reply.code(status).type('application/json').send(JSON.stringify(output));
  }

  function handle(route: Route): (request: FastifyRequest, reply: FastifyReply) => Promise<unknown> {
    const { operation } = route;
    const emptyStatus = operation.kind === 'command' && operation.output === undefined ? 204 : 200;
    return async (request, reply) => {
      const arrival = arrivals.get(request) ?? {
        correlationId: randomUUID(),
        startedMs: systemClock.monotonicMs(),
      };
      const gone = new AbortController();
      reply.raw.once('close', () => {
        if (!reply.raw.writableFinished)
          gone.abort(new PlimsollError('PL_ABORTED', 'the client closed the connection'));
      });
      const context = requestContext(request, arrival, gone.signal);
      const result = await runInContext(context, () =>
        beforeDeadline(context, options.call(operation, inputOf(operation, request))),
      );
      if (operation.kind === 'command' && Object.keys(operation.errors as object).length > 0) {
        const outcome = result as { ok: true; value: unknown } | { ok: false; error: string; data: unknown };
        if (!outcome.ok)
          return answer(
            reply,
            declaredProblem(
              operation.id,
              outcome,
              route.errors?.[outcome.error] ?? 422,
              arrival.correlationId,
            ),
          );
        return succeed(reply, route.status ?? emptyStatus, outcome.value);
      }
      return succeed(reply, route.status ?? emptyStatus, result);
    };
  }

  function requestContext(request: FastifyRequest, arrival: Arrival, signal: AbortSignal): RequestContext {
    const given = request.headers['idempotency-key'];
    // Never the correlation id: one of those may span several requests, which are not the same work.
    const key = typeof given === 'string' && given !== '' && given.length <= 255 ? { key: given } : {};
    return createContext({
      correlationId: arrival.correlationId,
      ...key,
      signal,
      deadlineAtMs: arrival.startedMs + settings.requestTimeoutMs,
    });
  }

  function build(): FastifyInstance {
    const app = fastify({
      logger: false,
      bodyLimit: settings.maxBodyBytes,
      // Cuts clients that send their request slowly.
      requestTimeout: settings.requestTimeoutMs,
      http: {
        // With a limit for headers above that of the request, as is the default, Node takes each for the other.
        headersTimeout: settings.requestTimeoutMs,
        requestTimeout: settings.requestTimeoutMs,
        // Node looks only every 30 seconds unless told otherwise.
        connectionsCheckingInterval: Math.min(1_000, settings.requestTimeoutMs),
      },
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
    app.setErrorHandler(refuse);
    app.setNotFoundHandler((request, reply) => {
      const error = new PlimsollError(
        'PL_NOT_FOUND',
        `${request.method} ${request.url.slice(0, 200)}: no such route`,
      );
      return answer(reply, problemOf(error, arrivals.get(request)?.correlationId ?? ''));
    });
    app.get('/healthz', () => ({ status: 'ok' }));
    app.get('/readyz', async () => {
      if (draining) throw new PlimsollError('PL_DRAINING', 'the process is shutting down');
      await options.ready();
      return { status: 'ready' };
    });
    const { telemetry } = options;
    if (telemetry !== undefined) {
      app.get('/-/telemetry', (request, reply) => {
        const { lastMs } = request.query as { lastMs?: string };
        const { 'x-forwarded-for': forwardedFor, forwarded } = request.headers;
        const direct = forwardedFor === undefined && forwarded === undefined;
        if (!direct || !loopback.has(request.socket.remoteAddress ?? '')) return reply.callNotFound();
        const asked = Number(lastMs);
        return telemetry(asked > 0 && asked < Infinity ? asked : 10_000);
      });
    }
    for (const route of options.routes) {
      app.route({
        method: route.operation.kind === 'query' ? 'GET' : 'POST',
        url: route.path,
        config: { operation: route.operation.id },
        handler: handle(route),
      });
    }
    return app;
  }

  const lifecycle = createLifecycle({
    name: 'gateway',
    async start() {
      draining = false;
      const building = build();
      server = building;
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
  });
}

function isInternal(request: FastifyRequest): boolean {
  const url = request.routeOptions.url;
  return url === '/healthz' || url === '/readyz' || url === '/-/telemetry';
}

function inputOf(operation: AnyOperation, request: FastifyRequest): unknown {
  const params = request.params as Record<string, unknown>;
  const rest = operation.kind === 'query' ? request.query : request.body;
  if (Object.keys(params).length === 0) return rest ?? {};
  if (typeof rest !== 'object' || Array.isArray(rest)) return rest ?? params;
  return { ...rest, ...params };
}
