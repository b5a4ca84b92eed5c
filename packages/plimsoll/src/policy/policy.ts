import { createBreaker, type Breaker, type BreakerStatus } from '../breaker/breaker.ts';
import type { Permit } from '../breaker/permit.ts';
import { createBulkhead, type Bulkhead, type BulkheadState, type Release } from '../bulkhead/bulkhead.ts';
import { plainAttempt, type Attempt, type Guard, type Work } from '../kernel/attempt.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { currentContext, endOf } from '../kernel/context.ts';
import { createRetry, type Retry, type RetryCall, type RetryState } from '../retry/retry.ts';
import { createTimeout, type Timeout, type TimeoutState } from '../timeout/timeout.ts';
import { policyDefaults, type PolicyOptions } from './options.ts';

/** What one call says of itself. */
export interface PolicyCall extends RetryCall {
  /** How many of the bulkhead's permits it takes. Default 1. */
  readonly weight?: number;
}

/** Of the guards that there are. */
export interface PolicyState {
  readonly name: string;
  readonly retry?: RetryState;
  readonly breaker?: BreakerStatus;
  readonly bulkhead?: BulkheadState;
  readonly timeout?: TimeoutState;
}

/** All guards of one dependency, in the one order that is right. */
export interface Policy extends Guard {
  readonly name: string;
  /** The circuit breaker, to trip and reset by hand; undefined when there is none. */
  readonly breaker: Breaker | undefined;
  /** Stands in the messages of its guards on the channels. */
  readonly scope: object;
  /**
   * Settles as the last attempt does. The deadline of the request holds over all of it; each attempt asks the breaker,
   * takes a permit of the bulkhead, and has its own time. Rejects with the first refusal that no retry overcame.
   */
  run<T>(work: Work<T>, call?: PolicyCall): Promise<T>;
  state(): PolicyState;
}

const nothingSaid: PolicyCall = {};

/** Throws PL_CONFIG when an option of one of its guards is not valid. */
export function createPolicy(options: PolicyOptions): Policy {
  return new GuardedCalls(options);
}

class GuardedCalls implements Policy {
  readonly name: string;
  readonly breaker: Breaker | undefined;
  readonly scope: object;
  readonly #retry: Retry | undefined;
  readonly #bulkhead: Bulkhead | undefined;
  readonly #timeout: Timeout | undefined;
  readonly #clock: Clock;

  constructor(options: PolicyOptions) {
    const { name, retry, breaker, bulkhead, timeout, clock = systemClock, random } = options;
    this.scope = options.scope ?? this;
    const shared = { name, scope: this.scope, clock, ...(random === undefined ? {} : { random }) };
    this.name = name;
    this.#clock = clock;
    this.#retry = retry === false ? undefined : createRetry({ ...retry, ...shared });
    this.breaker = breaker === false ? undefined : createBreaker({ ...breaker, ...shared });
    this.#bulkhead =
      bulkhead === false ? undefined : createBulkhead({ max: policyDefaults.max, ...bulkhead, ...shared });
    this.#timeout =
      timeout === false
        ? undefined
        : createTimeout({ ms: policyDefaults.timeoutMs, ...timeout, name, clock });
  }

  run<T>(work: Work<T>, call: PolicyCall = nothingSaid): Promise<T> {
    const weight = call.weight ?? 1;
    return this.#retry === undefined
      ? this.#attempt(work, call.within ?? plainAttempt, weight)
      : this.#retry.run((attempt) => this.#attempt(work, attempt, weight), call);
  }

  state(): PolicyState {
    return {
      name: this.name,
      ...(this.#retry === undefined ? {} : { retry: this.#retry.state() }),
      ...(this.breaker === undefined ? {} : { breaker: this.breaker.state() }),
      ...(this.#bulkhead === undefined ? {} : { bulkhead: this.#bulkhead.state() }),
      ...(this.#timeout === undefined ? {} : { timeout: this.#timeout.state() }),
    };
  }

  #attempt<T>(work: Work<T>, attempt: Attempt, weight: number): Promise<T> {
    let permit: Permit | undefined;
    try {
      // Else the guards would take what nobody waits for as a failure of what was called.
      const context = currentContext();
      const ended = context === undefined ? undefined : endOf(context, this.name, this.#clock);
      if (ended !== undefined) return Promise.reject(ended);
      permit = this.breaker?.acquire();
      if (this.#bulkhead === undefined) return this.#call(work, attempt, permit, undefined, undefined);
      const release = this.#bulkhead.tryAcquire(weight);
      return release === undefined
        ? this.#wait(this.#bulkhead, work, attempt, permit, weight)
        : this.#call(work, attempt, permit, release, undefined);
    } catch (error) {
      permit?.drop();
      return Promise.reject(error as Error);
    }
  }

  async #wait<T>(
    bulkhead: Bulkhead,
    work: Work<T>,
    attempt: Attempt,
    permit: Permit | undefined,
    weight: number,
  ): Promise<T> {
    let release: Release;
    try {
      release = await bulkhead.acquire(weight);
    } catch (error) {
      permit?.drop();
      throw error;
    }
    // What waited here is not slow there.
    return await this.#call(work, attempt, permit, release, this.#clock.monotonicMs());
  }

  /** `startedMs` is given when it is not the time at which the permit was taken. */
  async #call<T>(
    work: Work<T>,
    attempt: Attempt,
    permit: Permit | undefined,
    release: Release | undefined,
    startedMs: number | undefined,
  ): Promise<T> {
    try {
      const value = await (this.#timeout === undefined ? work(attempt) : this.#timeout.run(work, attempt));
      permit?.succeed(startedMs === undefined ? undefined : this.#clock.monotonicMs() - startedMs);
      return value;
    } catch (error) {
      permit?.fail(error, startedMs === undefined ? undefined : this.#clock.monotonicMs() - startedMs);
      throw error;
    } finally {
      release?.();
    }
  }
}
