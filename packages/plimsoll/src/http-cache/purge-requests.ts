import { validateHeaderName, validateHeaderValue } from 'node:http';
import { plainAttempt } from '../kernel/attempt.ts';
import { isPlimsollError, PlimsollError, throwIfProblems, type Problem } from '../kernel/errors.ts';
import type { Clock } from '../kernel/clock.ts';
import { systemClock } from '../kernel/clock.ts';
import { createPolicy, type Policy } from '../policy/policy.ts';
import { parseRetryAfter } from '../retry/retryable.ts';

export interface PurgeRequestOptions {
  /** Of this cache among others. */
  readonly name: string;
  /** Time of one attempt. Default 5_000. */
  readonly timeoutMs?: number;
  /** Requests in all, the first among them. Default 3. */
  readonly attempts?: number;
  readonly clock?: Clock;
}

export const purgeRequestDefaults = { timeoutMs: 5_000, attempts: 3 } as const;

/** One request, as the vendor documents it. */
export interface PurgeRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Longest part of an answer that is shown in an error. */
const previewLength = 300;

/** Sends purges, guarded: a purge may be made again, so a failure of the moment is. */
export class PurgeRequests {
  readonly #name: string;
  readonly #policy: Policy;
  readonly #secrets: readonly string[];
  readonly #clock: Clock;

  /** Throws PL_CONFIG. `secrets` are never shown. */
  constructor(options: PurgeRequestOptions, secrets: readonly string[], problems: readonly Problem[]) {
    const { name, clock = systemClock } = options;
    const { timeoutMs, attempts } = { ...purgeRequestDefaults, ...options };
    throwIfProblems(`the purger ${name}`, problems);
    this.#name = name;
    this.#clock = clock;
    this.#secrets = secrets.filter((secret) => secret !== '');
    this.#policy = createPolicy({
      name,
      clock,
      timeout: { ms: timeoutMs },
      // Who asks to be left alone for longer is: whoever called knows what to do meanwhile.
      retry: { attempts, baseMs: 200, maxRetryAfterMs: 1_000, retryable: mayBeMadeAgain },
    });
  }

  /** Resolves when `isDone` takes the answer for a success. */
  async send(
    request: PurgeRequest,
    within: AbortSignal | undefined,
    isDone: (body: string) => boolean = () => true,
  ): Promise<void> {
    within?.throwIfAborted();
    await this.#policy.run(({ signal }) => this.#attempt(request, isDone, signal), {
      safe: true,
      ...(within === undefined ? {} : { within: { signal: within, number: plainAttempt.number } }),
    });
  }

  async #attempt(
    { method, url, headers, body }: PurgeRequest,
    isDone: (body: string) => boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const what = `${this.#name}: ${method} ${new URL(url).origin}`;
    let answer: Response;
    let text: string;
    try {
      // No redirect: it would take the credentials elsewhere.
      answer = await fetch(url, {
        method,
        headers,
        signal,
        redirect: 'manual',
        ...(body === undefined ? {} : { body }),
      });
      text = await answer.text();
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      const code = codeOf(cause);
      throw new PlimsollError(
        'PL_NETWORK',
        `${what} gave no answer (${code}); the purge is not known to be done`,
        {
          data: { name: this.#name, networkCode: code },
        },
      );
    }
    if (answer.ok && isDone(text)) return;
    const asked = answer.headers.get('retry-after');
    const retryAfterMs = asked === null ? undefined : parseRetryAfter(asked, this.#clock.now());
    throw new PlimsollError(
      'PL_REMOTE_FAILED',
      `${what} was answered ${answer.status}: ${this.#shown(text)}${advice[answer.status] ?? ''}`,
      {
        data: {
          name: this.#name,
          status: answer.status,
          ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
        },
      },
    );
  }

  #shown(text: string): string {
    const clean = this.#secrets.reduce((rest, secret) => rest.replaceAll(secret, '[secret]'), text);
    return clean.slice(0, previewLength).replaceAll(/\s+/g, ' ').trim() || 'nothing';
  }
}

const advice: Readonly<Record<number, string>> = {
  401: '; check the token',
  403: '; check what the token may do, and from where purges are taken',
  404: '; check the id of the service or zone',
  405: '; the cache is not set up to take this method',
};

function mayBeMadeAgain(error: unknown): boolean {
  if (isPlimsollError(error, 'PL_NETWORK') || isPlimsollError(error, 'PL_TIMEOUT')) return true;
  const status = isPlimsollError(error, 'PL_REMOTE_FAILED') ? error.data['status'] : undefined;
  return typeof status === 'number' && (status === 408 || status === 429 || status >= 500);
}

/** `fetch` says why in the cause. */
function codeOf(error: unknown): string {
  for (const holder of [(error as { readonly cause?: unknown }).cause, error]) {
    const { code, name } = (holder ?? {}) as { readonly code?: unknown; readonly name?: unknown };
    if (typeof code === 'string') return code;
    if (holder === error && typeof name === 'string') return name;
  }
  return 'unknown';
}

/** Never shows the value. */
export function secretProblems(name: string, value: unknown): readonly Problem[] {
  try {
    if (typeof value !== 'string' || value === '') throw new TypeError('none');
    validateHeaderValue(name, value);
    return [];
  } catch {
    return [{ path: name, message: 'cannot be sent; give the token as one line of visible text' }];
  }
}

export function urlProblems(path: string, url: string): readonly Problem[] {
  const sound = URL.canParse(url) && /^https?:$/.test(new URL(url).protocol) && !/[@#]/.test(url);
  return sound ? [] : [{ path, message: 'is no URL to ask; give one such as https://cache.example/' }];
}

/** An id that becomes a segment of a path. */
export const idProblems = (path: string, id: string): readonly Problem[] =>
  /^[\w-]{1,128}$/.test(id) ? [] : [{ path, message: 'is no id; give its letters and digits' }];

export function fieldProblems(headers: Readonly<Record<string, string>>): readonly Problem[] {
  return Object.entries(headers).flatMap(([name, value]) => {
    try {
      validateHeaderName(name);
    } catch {
      return [{ path: 'headers', message: `has ${JSON.stringify(name)}, which is no name of a field` }];
    }
    return secretProblems(`headers.${name}`, value);
  });
}
