import type { PlimsollError } from '../kernel/errors.ts';
import { rateLimitHeaders } from './headers.ts';
import type { RateLimit } from './rate-limit.ts';

export interface HttpRateLimitOptions<Request> {
  /** Points of a request. Default 1. */
  cost?(request: Request): number;
}

/** What is needed of Fastify's reply. */
export interface ReplyLike {
  headers(fields: Readonly<Record<string, string>>): unknown;
}

/** What is needed of Node's and Express's response. */
export interface ResponseLike {
  setHeader(name: string, value: string): unknown;
}

/** The refusal, where it is refused. */
async function judge<Request>(
  limit: RateLimit<Request>,
  request: Request,
  options: HttpRateLimitOptions<Request>,
  write: (fields: Readonly<Record<string, string>>) => unknown,
): Promise<PlimsollError | undefined> {
  const result = await limit.take(request, options.cost?.(request) ?? 1);
  write(rateLimitHeaders(limit, result));
  return result.allowed ? undefined : limit.refusal(result);
}

/**
 * A hook of Fastify: `app.addHook('onRequest', rateLimitHook(limit))`. Sets the fields; throws PL_RATE_LIMITED, whose
 * status is 429, to the error handler.
 */
export function rateLimitHook<Request>(
  limit: RateLimit<Request>,
  options: HttpRateLimitOptions<Request> = {},
): (request: Request, reply: ReplyLike) => Promise<void> {
  return async (request, reply) => {
    const refusal = await judge(limit, request, options, (fields) => reply.headers(fields));
    if (refusal !== undefined) throw refusal;
  };
}

/**
 * Middleware of Express: `app.use(rateLimitMiddleware(limit))`. Sets the fields; gives PL_RATE_LIMITED, whose status
 * is 429, to the error handler.
 */
export function rateLimitMiddleware<Request>(
  limit: RateLimit<Request>,
  options: HttpRateLimitOptions<Request> = {},
): (request: Request, response: ResponseLike, proceed: (error?: unknown) => void) => void {
  return (request, response, proceed) => {
    const write = (fields: Readonly<Record<string, string>>): void => {
      for (const [name, value] of Object.entries(fields)) response.setHeader(name, value);
    };
    judge(limit, request, options, write).then(proceed, proceed);
  };
}
