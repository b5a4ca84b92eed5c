import type { IncomingMessage, ServerResponse } from 'node:http';
import { SeenExchange, seenProblems, type SeenOptions, type Settle } from '../gateway/seen-exchange.ts';
import { sharedCacheFields } from '../http-cache/fields.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import type { RequestSeen } from '../gateway/seen-hook.ts';

/** What of the options of a request context tells how tokens travel. */
export interface SeenWishes {
  readonly app?: { readonly database: { readonly settle?: Settle } };
  readonly seen?: SeenOptions | false;
}

const exchanges = new WeakMap<SeenWishes, SeenExchange>();

/** Throws PL_CONFIG. */
export function checkSeen({ seen }: SeenWishes): void {
  throwIfProblems('the request context', seenProblems(seen, 'seen'));
}

/** The one of these options, made when it is first asked for; undefined where they turn it off. */
export function seenExchangeOf(wishes: SeenWishes, scope: object | undefined): SeenExchange | undefined {
  if (wishes.seen === false) return undefined;
  let exchange = exchanges.get(wishes);
  if (exchange === undefined) {
    const { app, seen = {} } = wishes;
    exchange = new SeenExchange(scope ?? wishes, seen, async (due) => {
      await app?.database.settle?.(due);
    });
    exchanges.set(wishes, exchange);
  }
  return exchange;
}

/** By the connection, or by what the framework makes of its proxies. */
export function isHttps(request: IncomingMessage): boolean {
  const { protocol } = request as { readonly protocol?: unknown };
  return protocol === 'https' || ('encrypted' in request.socket && request.socket.encrypted === true);
}

/** Puts the token on the answer at the last moment, whoever writes it. */
export function answerWithSeen(
  response: ServerResponse,
  exchange: SeenExchange,
  known: RequestSeen,
  request: IncomingMessage,
): void {
  const writeHead = response.writeHead.bind(response) as (...given: unknown[]) => ServerResponse;
  response.writeHead = (...given: unknown[]): ServerResponse => {
    response.writeHead = writeHead;
    const { seen, taken, visit } = known;
    if (taken === undefined && seen.isEmpty) return writeHead(...given);
    const last = given.at(-1);
    // What is given here would win over what is set before.
    if (typeof last === 'object' && last !== null && !Array.isArray(last)) {
      for (const [name, value] of Object.entries(given.pop() as Record<string, string>))
        if (value !== undefined) response.setHeader(name, value);
    }
    const answer = exchange.answer(seen, taken, isHttps(request), response.getHeader('cache-control'), visit);
    // They would win over what the token makes of `Cache-Control`.
    if (answer !== undefined) for (const field of sharedCacheFields) response.removeHeader(field);
    for (const [name, value] of Object.entries(answer?.headers ?? {})) response.setHeader(name, value);
    if (answer?.cookie !== undefined) response.appendHeader('set-cookie', answer.cookie);
    return writeHead(...given);
  };
}

/**
 * Whoever ends the answer, it leaves once the store has what the request has added: the next tab may ask as soon as it
 * is there. An answer that is written in pieces has left before, but for its end.
 */
export function saveBeforeEnd(response: ServerResponse, exchange: SeenExchange, known: RequestSeen): void {
  const end = response.end.bind(response) as (...given: unknown[]) => ServerResponse;
  let ending = false;
  response.end = (...given: unknown[]): ServerResponse => {
    if (ending) return response;
    const { seen, taken, visit } = known;
    if (visit === undefined || exchange.shared?.hasNews(seen, visit) !== true) {
      response.end = end;
      return end(...given);
    }
    ending = true;
    void exchange.beforeAnswer(seen, taken, visit).then(() => {
      response.end = end;
      end(...given);
    });
    return response;
  };
}
