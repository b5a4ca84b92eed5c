import type { IncomingMessage, ServerResponse } from 'node:http';
import { background } from '../kernel/channels.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { systemClock } from '../kernel/clock.ts';
import { currentContext } from '../kernel/context.ts';
import {
  cacheableAnswer,
  isPersonal,
  perClientFields,
  privateCacheControl,
  sharedCacheFields,
} from './fields.ts';
import type { HttpCachePolicy } from './policy.ts';

export interface AnswerCacheableOptions<Subject> {
  /** What the policy's tags are made from. */
  readonly subject: Subject;
  readonly body: string | Uint8Array;
  /** `Content-Type`. Default `application/json`. */
  readonly type?: string;
  /** Names of the cookies that say who asks. Others then make no difference. Default: each may. */
  readonly cookies?: readonly string[];
  /** Set it where you know who asks by anything else. Default false. */
  readonly personal?: boolean;
  /** When the request began, by `performance.now()`. Default: now, so that no answer takes too long. */
  readonly startedMs?: number;
}

/**
 * Answers a GET or HEAD with 200, or 304 where the client has it: `node:http` and Express. Call it last, and only for
 * what succeeded. What says who asks, sets a cookie or has a causality token is private.
 */
export function answerCacheable<Subject>(
  request: IncomingMessage,
  response: ServerResponse,
  policy: HttpCachePolicy<Subject, undefined>,
  options: AnswerCacheableOptions<Subject>,
): void {
  const { subject, body, cookies, personal = false } = options;
  const isKnown = currentContext()?.caller?.principal !== undefined;
  const answer = cacheableAnswer(policy, {
    subject,
    value: undefined,
    body,
    ifNoneMatch: request.headers['if-none-match'],
    isAnonymous:
      !personal && !isKnown && !response.hasHeader('set-cookie') && !isPersonal(request.headers, cookies),
    tookMs: options.startedMs === undefined ? 0 : systemClock.monotonicMs() - options.startedMs,
    vary: response.getHeader('vary'),
  });
  if (answer.problem !== undefined) tellNotShared(policy, request.url ?? '/', answer.problem);
  writeCacheable(request, response, answer, { type: options.type ?? 'application/json', body });
}

/** Writes it, and takes back what it says to shared caches should a cookie be set while it is written. */
export function writeCacheable(
  request: IncomingMessage,
  response: ServerResponse,
  answer: {
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly isShared: boolean;
  },
  { type, body }: { readonly type: string; readonly body: string | Uint8Array },
): void {
  response.statusCode = answer.status;
  for (const name of [...sharedCacheFields, ...(answer.isShared ? perClientFields : [])])
    response.removeHeader(name);
  for (const [name, value] of Object.entries(answer.headers)) response.setHeader(name, value);
  if (answer.isShared) withdrawOnCookie(response);
  if (answer.status === 304) {
    response.end();
    return;
  }
  response.setHeader('content-type', type);
  response.setHeader('content-length', Buffer.byteLength(body));
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** Sessions of other libraries set their cookie at the last moment. */
function withdrawOnCookie(response: ServerResponse): void {
  const setHeader = response.setHeader.bind(response);
  for (const method of ['setHeader', 'appendHeader'] as const) {
    const set = response[method].bind(response) as (name: string, value: unknown) => ServerResponse;
    response[method] = ((name: string, value: unknown) => {
      if (name.toLowerCase() === 'set-cookie') {
        setHeader('cache-control', privateCacheControl);
        for (const field of sharedCacheFields) response.removeHeader(field);
      }
      return set(name, value);
    }) as never;
  }
}

const told = new WeakSet<object>();

/** Once for each policy. */
export function tellNotShared(policy: object, what: string, problem: string, scope: object = policy): void {
  if (told.has(policy)) return;
  told.add(policy);
  background.publish({
    scope,
    what: 'answering for shared caches',
    error: new PlimsollError(
      'PL_CONFIG',
      `an answer of ${what} ${problem}; it is kept from shared caches, and this is said once`,
    ),
  });
}
