import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import type { AnyCommand, AnyOperation, Input, Result } from '../modules/contract.ts';
import type { JobStatus } from '../jobs/receipt.ts';
import { failureOf, valueOf } from './answer.ts';
import { seenHeader } from '../kernel/seen-header.ts';
import { createSeenTokens } from './seen-tokens.ts';
import { requestOf, type ClientRoute, type OutgoingRequest } from './request.ts';

export interface ClientOptions<R extends readonly ClientRoute[] = readonly ClientRoute[]> {
  /** Where the gateway answers: `https://shop.example`; a path in it is put before those of the routes. */
  readonly baseUrl: string;
  /** The values that the gateway has. */
  readonly routes: R;
  /** Default the global one. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** Longest time for one call, answer included. Default 10_000. */
  readonly timeoutMs?: number;
  /** Sent with every request, for credentials. Default none. */
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * Whether each call sees what those that were answered before it have written and read: the client keeps the token
   * of each answer and sends it back. Default true.
   */
  readonly seen?: boolean;
}

export const clientDefaults = { timeoutMs: 10_000, seen: true } as const;

export interface CallOptions {
  /** Names this piece of work; send the same again when sending the same work again. Default a new one each call. */
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
  /** Default that of the client. */
  readonly timeoutMs?: number;
  /** Default: the server makes one. */
  readonly correlationId?: string;
}

export interface Client<Op extends AnyOperation = AnyOperation> {
  /** As `app.call`: declared errors come back as values, everything else is thrown. */
  call<Called extends Op>(
    operation: Called,
    input: Input<Called['input']>,
    options?: CallOptions,
  ): Promise<Result<Called>>;
  /** For a route with `enqueue`: resolves when the job is accepted. */
  enqueue<Called extends Extract<Op, AnyCommand>>(
    operation: Called,
    input: Input<Called['input']>,
    options?: CallOptions,
  ): Promise<{ readonly jobId: string }>;
  /** State of an accepted job; PL_JOB_UNKNOWN when the server knows none of this id. */
  job(jobId: string, options?: Omit<CallOptions, 'idempotencyKey'>): Promise<JobStatus>;
}

export function createClient<const R extends readonly ClientRoute[]>(
  options: ClientOptions<R>,
): Client<R[number]['operation']> {
  const { baseUrl, routes, headers = {}, timeoutMs: ownTimeoutMs = clientDefaults.timeoutMs } = options;
  const sound = URL.canParse(baseUrl) && /^https?:$/.test(new URL(baseUrl).protocol);
  throwIfProblems(
    'the client',
    sound
      ? []
      : [{ path: 'baseUrl', message: `is ${JSON.stringify(baseUrl)}; want an http:// or https:// URL` }],
  );
  const base = baseUrl.replace(/\/+$/, '');
  const send = options.fetch ?? ((url: string, init: RequestInit) => fetch(url, init));
  const tokens = (options.seen ?? clientDefaults.seen) ? createSeenTokens() : undefined;
  const byOperation = new Map<AnyOperation, ClientRoute>();
  for (const route of routes) if (!byOperation.has(route.operation)) byOperation.set(route.operation, route);

  function routeFor(operation: AnyOperation, enqueue: boolean): ClientRoute {
    const route = byOperation.get(operation);
    if (route === undefined)
      throw new PlimsollError('PL_UNKNOWN_OPERATION', `no route of this client leads to ${operation.id}`);
    if ((route.enqueue === true) !== enqueue)
      throw new PlimsollError(
        'PL_CONFIG',
        enqueue
          ? `${route.path} runs ${operation.id} at once; use call`
          : `${route.path} only accepts ${operation.id} as a job; use enqueue`,
      );
    return route;
  }

  /** One request and its whole answer, within its time. */
  async function exchange<T>(
    what: string,
    { method, path, body }: OutgoingRequest,
    of: CallOptions,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const timeout = AbortSignal.timeout(of.timeoutMs ?? ownTimeoutMs);
    const sent = tokens?.held() ?? [];
    const init: RequestInit = {
      method,
      headers: {
        ...headers,
        accept: 'application/json, application/problem+json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(method === 'POST' ? { 'idempotency-key': of.idempotencyKey ?? crypto.randomUUID() } : {}),
        // Empty, it asks for the first one.
        ...(tokens === undefined ? {} : { [seenHeader]: sent.join(', ') }),
        ...(of.correlationId === undefined ? {} : { 'x-correlation-id': of.correlationId }),
      },
      ...(body === undefined ? {} : { body }),
      // Followed, a POST would become a GET, and credentials would go where nobody sent them.
      redirect: 'error',
      signal: of.signal === undefined ? timeout : AbortSignal.any([of.signal, timeout]),
    };
    try {
      const response = await send(`${base}${path}`, init);
      const answered = response.headers.get(seenHeader);
      if (answered !== null) tokens?.replace(sent, answered);
      return await read(response);
    } catch (error) {
      if (error instanceof PlimsollError) throw error;
      if (of.signal?.aborted === true)
        throw new PlimsollError('PL_ABORTED', `${what}: cancelled by the caller`, {
          cause: of.signal.reason,
        });
      if (timeout.aborted)
        throw new PlimsollError(
          'PL_DEADLINE',
          `${what}: no answer within ${of.timeoutMs ?? ownTimeoutMs} ms`,
          {
            cause: error,
          },
        );
      throw new PlimsollError(
        'PL_NETWORK',
        `${what}: ${base} could not be reached or its answer was lost; whether the work was done is unknown`,
        { cause: error, data: { baseUrl: base } },
      );
    }
  }

  async function answerOf(response: Response, operation: AnyOperation): Promise<unknown> {
    if (!response.ok) return failureOf(response, operation, operation.id);
    const value = await valueOf(response, operation.id);
    const declares = operation.kind === 'command' && Object.keys(operation.errors as object).length > 0;
    return declares ? { ok: true, value } : value;
  }

  return {
    async call(operation, input, of = {}) {
      const request = requestOf(routeFor(operation, false), input);
      return (await exchange(operation.id, request, of, (response) =>
        answerOf(response, operation),
      )) as Result<typeof operation>;
    },
    async enqueue(operation, input, of = {}) {
      const request = requestOf(routeFor(operation, true), input);
      return exchange(operation.id, request, of, async (response) => {
        if (!response.ok) await failureOf(response, undefined, operation.id);
        return (await valueOf(response, operation.id)) as { readonly jobId: string };
      });
    },
    async job(jobId, of = {}) {
      const path = `/-/jobs/${encodeURIComponent(jobId)}`;
      return exchange(`job ${jobId}`, { method: 'GET', path }, of, async (response) => {
        if (!response.ok) await failureOf(response, undefined, `job ${jobId}`);
        return (await valueOf(response, `job ${jobId}`)) as JobStatus;
      });
    },
  };
}
