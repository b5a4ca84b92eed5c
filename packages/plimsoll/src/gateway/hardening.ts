import cors from '@fastify/cors';
import helmet from 'helmet';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { replayedHeader } from '../idempotency/key.ts';
import { systemClock } from '../kernel/clock.ts';
import type { Problem } from '../kernel/errors.ts';
import { LinkedList } from '../kernel/linked-list.ts';
import { seenHeader } from '../kernel/seen-header.ts';
import { attemptHeader } from '../retry/header.ts';
import { timeoutHeader } from '../timeout/remaining.ts';

export interface CorsOptions {
  /** Origins whose pages may read answers: `https://shop.example`. `*` is every one. */
  readonly origins: readonly string[];
  /** Whether their requests carry cookies. Default false; not with `*`. */
  readonly credentials?: boolean;
}

export function corsProblems(
  { origins, credentials = false }: CorsOptions,
  path: string,
): readonly Problem[] {
  const problems: Problem[] = [];
  for (const [index, origin] of origins.entries()) {
    const sound = origin === '*' || (URL.canParse(origin) && new URL(origin).origin === origin);
    if (!sound)
      problems.push({
        path: `${path}.origins[${index}]`,
        message: `is ${JSON.stringify(origin)}; want an origin such as "https://shop.example", without a path`,
      });
  }
  if (credentials && origins.includes('*'))
    problems.push({
      path: `${path}.credentials`,
      message: 'cannot go with the origin "*"; list the origins',
    });
  return problems;
}

/** Of Node's server. Set here so that no NODE_OPTIONS loosens them. */
export function serverLimits(limits: {
  readonly requestTimeoutMs: number;
}): Readonly<Record<string, unknown>> {
  return {
    // With a limit for headers above that of the request, as is the default, Node takes each for the other.
    headersTimeout: limits.requestTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    // Node looks only every 30 seconds unless told otherwise.
    connectionsCheckingInterval: Math.min(1_000, limits.requestTimeoutMs),
    // A parser that forgives lets a request hide in another.
    insecureHTTPParser: false,
    requireHostHeader: true,
    maxHeaderSize: 16_384,
  };
}

/**
 * What every answer carries, as helmet would set it: asked once, because it would set the same on each answer with
 * a call for each header.
 */
export function securityHeaders(allowed: CorsOptions | undefined): Readonly<Record<string, string>> {
  const headers = helmet({
    // Answers are data: nothing in them may load, run or be framed, should a browser take one for a page.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    crossOriginResourcePolicy: { policy: allowed === undefined ? 'same-origin' : 'cross-origin' },
    frameguard: { action: 'deny' },
    referrerPolicy: { policy: 'no-referrer' },
    // TLS ends at a proxy; it knows whether every name of the site has it.
    hsts: false,
    originAgentCluster: false,
    dnsPrefetchControl: false,
    ieNoOpen: false,
    permittedCrossDomainPolicies: false,
    xssFilter: false,
  });
  const request = new IncomingMessage(new Socket());
  const response = new ServerResponse(request);
  headers(request, response, (error) => {
    if (error !== undefined) throw error as Error;
  });
  return response.getHeaders() as Record<string, string>;
}

export async function addCors(app: FastifyInstance, allowed: CorsOptions): Promise<void> {
  await app.register(cors, {
    origin: [...allowed.origins],
    credentials: allowed.credentials ?? false,
    methods: ['GET', 'HEAD', 'POST'],
    allowedHeaders: [
      'content-type',
      'authorization',
      'idempotency-key',
      'x-correlation-id',
      'traceparent',
      timeoutHeader,
      attemptHeader,
      seenHeader,
    ],
    exposedHeaders: ['x-correlation-id', 'location', 'retry-after', replayedHeader, seenHeader],
    maxAge: 600,
    strictPreflight: false,
  });
}

/** Answers under way; cuts the connection of a client that does not take its own in time. */
export interface AnswerWatch extends Disposable {
  /** Returns what ends the watch of this one. */
  opened(request: FastifyRequest, startedMs: number): () => void;
}

/** One timer for all, because one for each request would cost every request for the sake of a few. */
export function watchAnswers(limitMs: number): AnswerWatch {
  const open = new LinkedList<{ readonly request: FastifyRequest; readonly startedMs: number }>();
  const timer = setInterval(
    () => {
      const oldestMs = systemClock.monotonicMs() - limitMs;
      for (const { request, startedMs } of open) {
        // In order of arrival: the rest is younger.
        if (startedMs > oldestMs) break;
        request.raw.socket.destroy();
      }
    },
    Math.min(1_000, limitMs),
  );
  timer.unref();
  return {
    opened(request, startedMs) {
      const link = open.add({ request, startedMs });
      return () => open.remove(link);
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
