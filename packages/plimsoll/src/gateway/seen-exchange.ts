import type { IncomingHttpHeaders } from 'node:http';
import type { Caller } from '../kernel/context.ts';
import { background } from '../kernel/channels.ts';
import { PlimsollError, type Problem } from '../kernel/errors.ts';
import { encodeSeen } from '../kernel/seen-codec.ts';
import { maxSentTokens, seenHeader } from '../kernel/seen-header.ts';
import { seenSecretProblems, seenTokens, type SeenSecret, type SeenTokens } from '../kernel/seen-token.ts';
import { Seen } from '../kernel/seen.ts';
import { settleSoon } from '../kernel/settle-seen.ts';
import type { SeenStore } from './seen-store.ts';
import { SharedSeen, seenIdOf, seenIdOfCaller, type SharedVisit } from './shared-seen.ts';

/** How the causality token travels between requests. */
export interface SeenOptions {
  /** At least 32 characters: tokens are sealed. Of several the first seals and all are read. Default: only encoded. */
  readonly secret?: SeenSecret;
  /** Whether browsers get it as a cookie too. Who sends the cookie gets it in any case. Default false. */
  readonly cookie?: boolean;
  /** How long a browser keeps the cookie. Default 60_000. */
  readonly maxAgeMs?: number;
  /**
   * Joins what all requests of one user have seen, so that his tabs, devices and windows share it; the client then
   * need not send anything. Default none: only what the client sends.
   */
  readonly store?: SeenStore;
  /**
   * Whose request it is, for the store: the same for all that are to share. Undefined: nobody's, which leaves it to what
   * the client sends. Default the principal of the caller, within the tenant.
   */
  readonly id?: (request: SeenRequest) => string | undefined;
  /** How long the store keeps it; must be longer than replicas in use may be late. Default 60_000. */
  readonly storeTtlMs?: number;
  /** Longest wait for the store, before and after a request each; without an answer it reads the primary. Default 50. */
  readonly storeTimeoutMs?: number;
}

/** What `id` may look at. */
export interface SeenRequest {
  readonly headers: IncomingHttpHeaders;
  /** Undefined: nobody known. */
  readonly caller: Caller | undefined;
}

export const seenDefaults = {
  cookie: false,
  maxAgeMs: 60_000,
  storeTtlMs: 60_000,
  storeTimeoutMs: 50,
} as const;

/** Takes the positions that were put off; see `Database.settle`. */
export type Settle = (seen: Seen) => Promise<void>;

/** What a request brought along. */
export interface TakenSeen {
  readonly seen: Seen;
  /** Of when it came, to tell what has been added since. */
  readonly before: Buffer | undefined;
  /** Tokens that were sent. */
  readonly count: number;
  readonly inCookie: boolean;
}

export interface SeenAnswer {
  readonly headers: Readonly<Record<string, string>>;
  readonly cookie: string | undefined;
}

export function seenProblems(options: SeenOptions | false | undefined, path: string): readonly Problem[] {
  if (options === undefined || options === false) return [];
  const settings = { ...seenDefaults, ...options };
  const problems = [...seenSecretProblems(options.secret, `${path}.secret`)];
  for (const [name, min, max] of [
    ['maxAgeMs', 1_000, 86_400_000],
    ['storeTtlMs', 1_000, 86_400_000],
    ['storeTimeoutMs', 1, 10_000],
  ] as const) {
    const value = settings[name];
    if (!Number.isInteger(value) || value < min || value > max)
      problems.push({
        path: `${path}.${name}`,
        message: `is ${value}; want a whole number from ${min} to ${max}`,
      });
  }
  if (options.id !== undefined && options.store === undefined)
    problems.push({ path: `${path}.id`, message: 'is for a store, and there is none; give `store` too' });
  return problems;
}

/** The causality token of a client, taken from its request and given back with the answer. */
export class SeenExchange {
  readonly #scope: object;
  readonly #tokens: SeenTokens;
  readonly #options: SeenOptions & Required<Pick<SeenOptions, keyof typeof seenDefaults>>;
  /** What users have seen; undefined without a store. */
  readonly shared: SharedSeen | undefined;
  readonly #settle: Settle | undefined;
  /** Set by the first token that cannot be read: one message says enough. */
  #told = false;

  constructor(scope: object, options: SeenOptions, settle: Settle | undefined) {
    this.#scope = scope;
    this.#tokens = seenTokens(options.secret);
    this.#options = { ...seenDefaults, ...options };
    this.#settle = settle;
    const { store, storeTtlMs: ttlMs, storeTimeoutMs: timeoutMs } = this.#options;
    this.shared = store === undefined ? undefined : new SharedSeen({ scope, store, ttlMs, timeoutMs });
  }

  /**
   * Undefined when no token came; an empty one asks for the first. One that cannot be read counts for nothing.
   */
  take(headers: IncomingHttpHeaders, isHttps: boolean): TakenSeen | undefined {
    const sent = headers[seenHeader];
    const cookie = cookieIn(headers.cookie, cookieName(isHttps));
    if (sent === undefined && cookie === undefined) return undefined;
    const seen = new Seen();
    const tokens = [sent ?? []]
      .flat()
      .flatMap((value) => value.split(',').flatMap((token) => token.trim() || []));
    if (cookie !== undefined) tokens.push(cookie);
    for (const token of tokens.slice(0, maxSentTokens + 1)) {
      const read = this.#tokens.read(token);
      if (read === undefined) this.#tell();
      else seen.mergeAll(read);
    }
    return { seen, before: encodeSeen(seen), count: tokens.length, inCookie: cookie !== undefined };
  }

  /** Whether there is something that the client did not send, or not in one token. */
  hasNews(seen: Seen, taken: TakenSeen | undefined): boolean {
    if (seen.isEmpty) return false;
    // Who has sent nothing and has only read stays anonymous: its answer may be anybody's.
    if (taken === undefined && !seen.hasWritten) return false;
    if (taken?.before === undefined || taken.count > 1) return true;
    return encodeSeen(seen)?.equals(taken.before) !== true;
  }

  /** Under what the store has what this user has seen; undefined for nobody, and without a store. */
  idOf(request: SeenRequest): string | undefined {
    if (this.shared === undefined) return undefined;
    const { id } = this.#options;
    if (id === undefined) return seenIdOfCaller(request.caller);
    const own = id(request);
    return own === undefined ? undefined : seenIdOf('id', own);
  }

  /** What an answer has to wait for. Never rejects, and resolves soon. */
  async beforeAnswer(
    seen: Seen,
    taken: TakenSeen | undefined,
    visit: SharedVisit | undefined,
  ): Promise<void> {
    const isNew = visit === undefined ? undefined : this.shared?.hasNews(seen, visit);
    if (isNew ?? this.hasNews(seen, taken)) await this.settle(seen);
    if (visit !== undefined && isNew === true) await this.shared?.save(seen, visit);
  }

  /** Resolves soon, whether or not the database answers. */
  async settle(seen: Seen): Promise<void> {
    await settleSoon(seen, this.#settle);
  }

  /** What the answer has to carry; undefined when neither the request nor the answer has a token. */
  answer(
    seen: Seen,
    taken: TakenSeen | undefined,
    isHttps: boolean,
    cacheControl: unknown,
    visit?: SharedVisit,
  ): SeenAnswer | undefined {
    // Where the store has it, nobody who did not ask for a token gets one.
    const isStored = taken === undefined && visit?.isSure === true;
    const token = !isStored && this.hasNews(seen, taken) ? this.#tokens.write(seen) : undefined;
    if (token === undefined && taken === undefined && (visit === undefined || seen.isEmpty)) return undefined;
    const inCookie = token !== undefined && (this.#options.cookie || taken?.inCookie === true);
    return {
      headers: {
        'cache-control': privateCacheControl(cacheControl),
        ...(token === undefined ? {} : { [seenHeader]: token }),
      },
      cookie: inCookie ? this.#cookieOf(token, isHttps) : undefined,
    };
  }

  #cookieOf(token: string, isHttps: boolean): string {
    const maxAge = Math.floor(this.#options.maxAgeMs / 1_000);
    const secure = isHttps ? '; Secure' : '';
    return `${cookieName(isHttps)}=${token}; Max-Age=${maxAge}; Path=/; HttpOnly${secure}; SameSite=Lax`;
  }

  #tell(): void {
    if (this.#told) return;
    this.#told = true;
    background.publish({
      scope: this.#scope,
      what: 'reading the causality token of a request',
      error: new PlimsollError(
        'PL_BAD_REQUEST',
        `a token in ${seenHeader} or its cookie cannot be read, or was sealed with another secret; such tokens are ignored, and this is said once`,
      ),
    });
  }
}

// `__Host-` keeps a neighbouring subdomain from planting its own; browsers take it on HTTPS only.
const cookieName = (isHttps: boolean): string => (isHttps ? `__Host-${seenHeader}` : seenHeader);

function cookieIn(cookies: string | undefined, name: string): string | undefined {
  if (cookies?.includes(name) !== true) return undefined;
  for (const pair of cookies.split(';')) {
    const [key, value] = pair.trim().split('=', 2);
    if (key === name) return value;
  }
  return undefined;
}

/** No cache knows the token, so none may answer in our place. What the route says holds where it is stricter. */
function privateCacheControl(given: unknown): string {
  const directives = typeof given === 'string' ? given.toLowerCase().split(',') : [];
  const has = (name: string): boolean => directives.some((directive) => directive.trim() === name);
  return has('no-store') || (has('private') && has('no-cache')) ? (given as string) : 'private, no-cache';
}
