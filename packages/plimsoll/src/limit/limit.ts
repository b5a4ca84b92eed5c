import { plainAttempt, type Guard, type Work } from '../kernel/attempt.ts';
import { refusals } from '../kernel/channels.ts';
import { isPlimsollError, PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { failureKind } from '../kernel/failure-kind.ts';
import { Concurrency, type LimitReason } from './concurrency.ts';
import { limitProblems, limitSettings, type LimitOptions, type LimitSettings } from './options.ts';

/** The right to one call. Give it back once, by one of the three; what comes later does nothing. */
export interface Permit {
  /** The call was answered. */
  succeed(): void;
  /** It timed out, was given up after the usual time, or was refused for too much load. */
  drop(): void;
  /** How it went says nothing of load: a quick error, a refusal of our own, a caller that left at once. */
  ignore(): void;
  /** Nobody waits any more: a drop if it had taken longer than calls do, else it says nothing. */
  abandon(): void;
}

export interface LimitState {
  readonly name: string;
  readonly limit: number;
  readonly inFlight: number;
  /** What the limit was last changed for. */
  readonly reason: LimitReason;
  /** Mean round trip of late; undefined before the first measurement. */
  readonly recentRttMs: number | undefined;
  /** Mean round trip without a queue, as last measured. */
  readonly baselineRttMs: number | undefined;
  readonly admitted: number;
  readonly refused: number;
}

/** An adaptive concurrency limit. */
export interface Limit extends Guard {
  readonly name: string;
  readonly limit: number;
  readonly inFlight: number;
  /** Undefined when as many are under way as `share` of the limit allows. Default the whole of it. */
  tryAcquire(share?: number): Permit | undefined;
  /** Rejects with PL_OVERLOADED when the limit is reached. */
  run<T>(work: Work<T>): Promise<T>;
  state(): LimitState;
}

/** Throws PL_CONFIG for options that cannot be. */
export function createLimit(options: LimitOptions): Limit {
  throwIfProblems(`the limit ${options.name}`, limitProblems(options));
  return new AdaptiveLimit(options);
}

class AdaptiveLimit implements Limit {
  readonly name: string;
  readonly #settings: LimitSettings;
  readonly #concurrency: Concurrency;
  readonly #isDrop: (error: unknown) => boolean;
  readonly #scope: object;
  #admitted = 0;
  #refused = 0;

  constructor(options: LimitOptions) {
    this.name = options.name;
    this.#settings = limitSettings(options);
    this.#concurrency = new Concurrency(this.#settings);
    this.#isDrop = options.isDrop ?? saysOverload;
    this.#scope = options.scope ?? this;
  }

  get limit(): number {
    return this.#concurrency.limit;
  }

  get inFlight(): number {
    return this.#concurrency.inFlight;
  }

  tryAcquire(share = 1): Permit | undefined {
    const concurrency = this.#concurrency;
    if (concurrency.inFlight >= concurrency.limit * share) {
      this.#refused += 1;
      concurrency.refuse();
      return undefined;
    }
    this.#admitted += 1;
    const nowMs = this.#settings.clock.monotonicMs();
    concurrency.begin(nowMs);
    return new OnePermit(this, nowMs);
  }

  run<T>(work: Work<T>): Promise<T> {
    const permit = this.tryAcquire();
    if (permit === undefined) return Promise.reject(this.#refusal());
    let running: Promise<T>;
    try {
      running = work(plainAttempt);
    } catch (error) {
      this.#settle(permit, error);
      return Promise.reject(error as Error);
    }
    // The caller gets the promise of the work itself; this one only watches it, and never rejects.
    void running.then(
      () => permit.succeed(),
      (error: unknown) => this.#settle(permit, error),
    );
    return running;
  }

  state(): LimitState {
    const { limit, inFlight, reason, recentRttMs, baselineRttMs } = this.#concurrency;
    const { name } = this;
    return {
      name,
      limit,
      inFlight,
      reason,
      recentRttMs,
      baselineRttMs,
      admitted: this.#admitted,
      refused: this.#refused,
    };
  }

  /** @internal For the permits. */
  release(startedMs: number, outcome: Outcome): void {
    const nowMs = this.#settings.clock.monotonicMs();
    const concurrency = this.#concurrency;
    if (outcome === 'ignore' || (outcome === 'abandon' && !this.#isLate(nowMs - startedMs)))
      concurrency.forget(nowMs, startedMs);
    else concurrency.end(nowMs, startedMs, outcome !== 'succeed');
  }

  /** Whether a call has taken so long that most would have been answered. */
  #isLate(tookMs: number): boolean {
    const { recentRttMs, baselineRttMs } = this.#concurrency;
    const usualMs = recentRttMs ?? baselineRttMs;
    return usualMs !== undefined && tookMs >= lateFactor * usualMs;
  }

  #settle(permit: Permit, error: unknown): void {
    if (this.#isDrop(error)) permit.drop();
    else if (failureKind(error) === 'cancelled') permit.abandon();
    else permit.ignore();
  }

  #refusal(): PlimsollError {
    const { name, limit, inFlight } = this;
    if (refusals.hasSubscribers)
      refusals.publish({
        scope: this.#scope,
        policy: 'limit',
        name,
        reason: `${inFlight} of ${limit} under way`,
      });
    const usualMs = Math.max(shortestRetryMs, this.#concurrency.recentRttMs ?? 0);
    const retryAfterMs = Math.ceil(usualMs * (0.5 + this.#settings.random()));
    return new PlimsollError(
      'PL_OVERLOADED',
      `${name}: ${inFlight} calls are under way, and the limit is ${limit} at present; try again later or send fewer`,
      { data: { name, limit, inFlight, retryAfterMs } },
    );
  }
}

type Outcome = 'succeed' | 'drop' | 'ignore' | 'abandon';

/** In mean round trips: a call given up earlier was given up for reasons of the caller's own. */
const lateFactor = 2;
const shortestRetryMs = 100;

class OnePermit implements Permit {
  // Undefined once given back.
  #owner: AdaptiveLimit | undefined;
  readonly #startedMs: number;

  constructor(owner: AdaptiveLimit, startedMs: number) {
    this.#owner = owner;
    this.#startedMs = startedMs;
  }

  succeed(): void {
    this.#release('succeed');
  }

  drop(): void {
    this.#release('drop');
  }

  ignore(): void {
    this.#release('ignore');
  }

  abandon(): void {
    this.#release('abandon');
  }

  #release(outcome: Outcome): void {
    const owner = this.#owner;
    if (owner === undefined) return;
    this.#owner = undefined;
    owner.release(this.#startedMs, outcome);
  }
}

/** Of errors that are not ours: what Node and undici call a timeout. */
const timeoutCodes: ReadonlySet<unknown> = new Set([
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
]);

/** A timeout, or a 503 from the other side. */
function saysOverload(error: unknown): boolean {
  if (failureKind(error) !== 'failure') return false;
  if (isPlimsollError(error)) return error.status === 503 || error.status === 504;
  if (!(error instanceof Error)) return false;
  const { code, statusCode, status } = error as Error & Record<'code' | 'statusCode' | 'status', unknown>;
  return (
    error.name === 'TimeoutError' ||
    timeoutCodes.has(code) ||
    statusCode === 503 ||
    status === 503 ||
    statusCode === 504 ||
    status === 504
  );
}
