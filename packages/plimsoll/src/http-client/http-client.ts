import { Pool } from 'undici';
import { plainAttempt, type Attempt } from '../kernel/attempt.ts';
import { httpClientRequests } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { currentContext } from '../kernel/context.ts';
import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { createPolicy, type Policy, type PolicyState } from '../policy/policy.ts';
import { seenHeader } from '../kernel/seen-header.ts';
import { settleSoon } from '../kernel/settle-seen.ts';
import { attemptHeader, attemptHeaderValue } from '../retry/header.ts';
import { traceparent } from '../telemetry/sampling.ts';
import { remainingHeader, timeoutHeader } from '../timeout/remaining.ts';
import { WholeAnswer, type HttpAnswer } from './answer.ts';
import { CarriedSeen } from './carried-seen.ts';
import { AttemptFailure, codeOf, Exchange, Progress, type ReceivedAnswer } from './exchange.ts';
import { failureOf, tooLarge, type RequestFacts } from './failure.ts';
import {
  httpClientDefaults,
  httpClientProblems,
  isPolicy,
  maxConnectionsOf,
  type HttpClientOptions,
} from './options.ts';
import { prepareRequest, type HttpMethod, type HttpRequestOptions, type PreparedRequest } from './request.ts';

export interface HttpClientState {
  readonly name: string;
  readonly origin: string;
  readonly state: 'open' | 'draining' | 'closed';
  /** Requests that somebody waits for, their retries included. */
  readonly inFlight: number;
  readonly connections: { readonly max: number; readonly open: number; readonly idle: number };
  readonly policy: PolicyState;
}

/** Requests to one origin. */
export interface HttpClient extends AsyncDisposable {
  readonly name: string;
  readonly origin: string;
  /** Stands in its messages on the channels. */
  readonly scope: object;
  /** What all of its requests go through. */
  readonly policy: Policy;
  /**
   * Resolves with any answer that says something of the request, a 404 too. `target` is a path, whose `:name` segments
   * `params` fill, or a URL of the same origin. Throws PL_REMOTE_FAILED for a 408, 429 or 5xx that no retry overcame,
   * PL_NETWORK where no whole answer came, PL_DRAINING after `close`, and the refusals of the policy.
   */
  request(method: HttpMethod, target: string | URL, options?: HttpRequestOptions): Promise<HttpAnswer>;
  state(): HttpClientState;
  /** Takes no more requests; resolves when those under way have ended and every connection is closed. */
  close(): Promise<void>;
}

/** Throws PL_CONFIG when an option is not valid. */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  throwIfProblems(`http client ${options.name}`, httpClientProblems(options));
  return new PooledClient(options);
}

class PooledClient implements HttpClient {
  readonly name: string;
  readonly origin: string;
  readonly scope: object;
  readonly policy: Policy;
  readonly #headers: Readonly<Record<string, string>>;
  /** The host without its port. */
  readonly #address: string;
  readonly #maxBodyBytes: number;
  readonly #maxConnections: number;
  readonly #clock: Clock;
  readonly #carried: CarriedSeen | undefined;
  readonly #pool: Pool;
  #state: HttpClientState['state'] = 'open';
  #inFlight = 0;
  /** Resolves `close` when the last request has ended. */
  #onIdle: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: HttpClientOptions) {
    const { name, policy, headers = {}, clock = systemClock } = options;
    const { connectTimeoutMs, maxBodyBytes } = { ...httpClientDefaults, ...options };
    this.name = name;
    this.scope = options.scope ?? this;
    const { origin, hostname } = new URL(options.origin);
    this.origin = origin;
    this.#address = hostname;
    this.policy = isPolicy(policy) ? policy : createPolicy({ ...policy, name, clock, scope: this.scope });
    this.#headers = headers;
    this.#maxBodyBytes = maxBodyBytes;
    this.#maxConnections = maxConnectionsOf(options);
    this.#clock = clock;
    this.#carried = CarriedSeen.of(options);
    this.#pool = new Pool(this.origin, {
      connections: this.#maxConnections,
      // So that "sent" and "cancelled" mean one connection, and that of one request.
      pipelining: 1,
      allowH2: false,
      connectTimeout: connectTimeoutMs,
      // The time of an attempt is the policy's.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  async request(
    method: HttpMethod,
    target: string | URL,
    options: HttpRequestOptions = {},
  ): Promise<HttpAnswer> {
    const prepared = prepareRequest(this, method, target, options);
    const progress = new Progress();
    const factsNow = (): RequestFacts => ({
      name: this.name,
      method,
      path: prepared.pattern,
      attempts: progress.attempts,
      sent: progress.sent,
    });
    if (this.#state !== 'open')
      throw failureOf(
        new PlimsollError('PL_DRAINING', `the client ${this.name} was closed and takes no more requests`),
        factsNow(),
        this.#clock,
      );
    this.#inFlight += 1;
    let received: ReceivedAnswer;
    try {
      received = await this.#guarded(prepared, options.signal, progress);
    } catch (error) {
      throw failureOf(error, factsNow(), this.#clock);
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight === 0) this.#onIdle?.();
    }
    if (received.isCut) throw tooLarge(received, factsNow(), this.#maxBodyBytes);
    return new WholeAnswer(received, `${this.name}: ${method} ${prepared.pattern}`, factsNow());
  }

  state(): HttpClientState {
    const { connected, free } = this.#pool.stats;
    return {
      name: this.name,
      origin: this.origin,
      state: this.#state,
      inFlight: this.#inFlight,
      connections: { max: this.#maxConnections, open: connected, idle: free },
      policy: this.policy.state(),
    };
  }

  close(): Promise<void> {
    this.#closed ??= this.#drain();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #drain(): Promise<void> {
    this.#state = 'draining';
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    // Nothing is left there but idle connections and what was given up while it waited for one.
    await this.#pool.destroy();
    this.#state = 'closed';
  }

  #guarded(
    request: PreparedRequest,
    signal: AbortSignal | undefined,
    progress: Progress,
  ): Promise<ReceivedAnswer> {
    return this.policy.run((attempt) => this.#attempt(request, attempt, progress), {
      safe: request.isRead || request.idempotencyKey !== undefined,
      hedge: request.isRead,
      ...(signal === undefined ? {} : { within: withinSignal(signal) }),
    });
  }

  /** What the other server must see has its position first. */
  #attempt(request: PreparedRequest, attempt: Attempt, progress: Progress): Promise<ReceivedAnswer> {
    const seen = this.#carried === undefined ? undefined : currentContext()?.seen;
    if (seen?.owes !== true) return this.#send(request, attempt, progress);
    return settleSoon(seen).then(() => this.#send(request, attempt, progress));
  }

  #send(request: PreparedRequest, attempt: Attempt, progress: Progress): Promise<ReceivedAnswer> {
    const { signal } = attempt;
    if (signal.aborted) return Promise.reject(cancelled(this.name, signal.reason));
    progress.attempts += 1;
    const { method, path, body, pattern } = request;
    const limits = { isHead: method === 'HEAD', maxBytes: this.#maxBodyBytes };
    const exchange = new Exchange(`${this.name}: ${method} ${pattern}`, limits, signal, progress);
    const headers = this.#headersOf(request, attempt);
    const seen = currentContext()?.seen;
    const told = httpClientRequests.hasSubscribers ? this.#tell(request, attempt.number) : undefined;
    this.#pool.dispatch({ method, path, body, headers }, exchange);
    return exchange.answer.then(
      (answer) => {
        this.#carried?.take(seen, answer.headers);
        told?.(answer.status, undefined);
        return answer;
      },
      (error: unknown) => {
        const failure = signal.aborted ? cancelled(this.name, signal.reason) : error;
        // What failed there may have been committed.
        if (failure instanceof AttemptFailure) this.#carried?.take(seen, failure.headers);
        if (failure instanceof AttemptFailure) told?.(failure.status, codeOf(failure.cause));
        else told?.(undefined, codeOf(failure));
        throw failure;
      },
    );
  }

  /** Begins to measure an attempt; to be called with how it ended. */
  #tell(
    { method, template }: PreparedRequest,
    attempt: number,
  ): (status: number | undefined, errorType: string | undefined) => void {
    const startedMs = this.#clock.monotonicMs();
    return (status, errorType) => {
      httpClientRequests.publish({
        scope: this.scope,
        name: this.name,
        method,
        address: this.#address,
        template,
        status,
        durationMs: this.#clock.monotonicMs() - startedMs,
        attempt,
        errorType: status === undefined ? errorType : undefined,
      });
    };
  }

  /** What the caller gives counts most; of two names that differ in case only one may be sent. */
  #headersOf({ headers, idempotencyKey }: PreparedRequest, attempt: Attempt): Record<string, string> {
    const all: Record<string, string> = {};
    const add = (name: string, value: string | undefined): void => {
      if (value !== undefined) all[name.toLowerCase()] = value;
    };
    const clock = this.#clock;
    add('traceparent', traceparent());
    add('x-correlation-id', currentContext()?.correlationId);
    add(seenHeader, this.#carried?.sent(currentContext()?.seen));
    for (const [name, value] of Object.entries(this.#headers)) add(name, value);
    for (const [name, value] of Object.entries(headers)) add(name, value);
    add('idempotency-key', idempotencyKey);
    add(timeoutHeader, remainingHeader({ attempt, clock }));
    add(attemptHeader, attemptHeaderValue(attempt));
    return all;
  }
}

/** The caller's own signal is around all attempts, beside that of the context. */
function withinSignal(own: AbortSignal): Attempt {
  const around = currentContext()?.signal;
  const signal = around === undefined ? own : AbortSignal.any([around, own]);
  return { signal, number: plainAttempt.number };
}

/** A guard's reason is told as it is. */
function cancelled(name: string, reason: unknown): PlimsollError {
  return reason instanceof PlimsollError
    ? reason
    : new PlimsollError('PL_ABORTED', `${name}: the caller cancelled`, { cause: reason });
}
