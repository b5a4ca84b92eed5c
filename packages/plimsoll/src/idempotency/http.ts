import { currentContext } from '../kernel/context.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Answer } from './answer.ts';
import type { GivenAnswer, Idempotency, IdempotentRequest, OutsideWork } from './idempotency.ts';
import { clientOf } from './keyed-work.ts';

/** What is read of a request: those of Fastify and Express have it. */
export interface RequestLike {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** As it was sent. */
  readonly url: string;
  /** Parsed: what is hashed to know whether the same was sent. */
  readonly body?: unknown;
  readonly params?: unknown;
  readonly query?: unknown;
  /** Express: where its router is, and its route. */
  readonly baseUrl?: string;
  readonly route?: { readonly path?: unknown };
  /** Fastify. */
  readonly routeOptions?: { readonly url?: string | undefined };
}

export interface HttpIdempotencyOptions<Request> {
  /** Whose keys these are, such as a tenant or an API key's hash. Default the caller of the request context. */
  client?(request: Request): string | undefined;
  /** Whose personal data the answer holds, for `eraseSubject`. Default nobody's. */
  subject?(request: Request): string | undefined;
}

/** The effect alone, or with what is asked of the outside before it. */
export type IdempotentHandler<Request, T> =
  | ((request: Request, tx: Transaction) => Promise<Answer>)
  | {
      readonly outside: (request: Request, key: string) => Promise<T>;
      readonly effect: (request: Request, tx: Transaction, result: T) => Promise<Answer>;
    };

export function requestOf<Request extends RequestLike>(
  request: Request,
  options: HttpIdempotencyOptions<Request>,
): IdempotentRequest {
  const { method, headers, body = null, params = {}, query = {} } = request;
  return {
    method,
    route: routeOf(request),
    field: headers['idempotency-key'],
    client:
      options.client === undefined
        ? clientOf(currentContext()?.caller ?? {})
        : (options.client(request) ?? ''),
    subject: options.subject?.(request),
    input: { body, params, query },
  };
}

/** The pattern, and the path where there is none yet. */
function routeOf({ url, baseUrl = '', route, routeOptions }: RequestLike): string {
  if (routeOptions?.url !== undefined) return routeOptions.url;
  if (typeof route?.path === 'string') return `${baseUrl}${route.path}`;
  return `${baseUrl}${url.split('?', 1)[0] ?? ''}`;
}

export function runHandler<Request extends RequestLike, T>(
  idempotency: Idempotency,
  handler: IdempotentHandler<Request, T>,
  options: HttpIdempotencyOptions<Request>,
  request: Request,
): Promise<GivenAnswer> {
  const asked = requestOf(request, options);
  if (typeof handler === 'function') return idempotency.once(asked, (tx) => handler(request, tx));
  const { outside, effect } = handler;
  const work: OutsideWork<T> = {
    outside: (key) => outside(request, key),
    effect: (tx, result) => effect(request, tx, result),
  };
  return idempotency.onceOutside(asked, work);
}

/** Seconds for `Retry-After` of a refusal because the same is under way; undefined for any other. */
export function busySeconds(error: unknown): string | undefined {
  if (!isPlimsollError(error, 'PL_IDEMPOTENCY_BUSY')) return undefined;
  const { retryAfterMs } = error.data;
  return String(typeof retryAfterMs === 'number' ? Math.max(1, Math.ceil(retryAfterMs / 1_000)) : 1);
}

/** Whether a method promises by itself that it may be sent again. */
export function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS' || method === 'TRACE';
}
