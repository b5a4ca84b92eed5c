import { BreakerMachine, type Breaker, type BreakerStatus } from '../breaker/breaker.ts';
import type { Permit } from '../breaker/permit.ts';
import { SemaphoreBulkhead, type BulkheadState, type Release } from '../bulkhead/bulkhead.ts';
import { bulkheadSettings } from '../bulkhead/options.ts';
import { begin, plainAttempt, type Attempt, type Guard, type Work } from '../kernel/attempt.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { currentTick, tickMs } from '../kernel/coarse-clock.ts';
import { contextOf, currentContext, endOf, runInAttempt, surroundings } from '../kernel/context.ts';
import type { PlimsollError } from '../kernel/errors.ts';
import { BudgetedRetry, type RetryCall, type RetryState } from '../retry/retry.ts';
import { pastDeadline, TimedCall, type CallEnd } from '../timeout/timed-call.ts';
import { CallTimeout, earliestEnd, type TimeoutState } from '../timeout/timeout.ts';
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

class GuardedCalls implements Policy, CallEnd {
  readonly name: string;
  readonly breaker: BreakerMachine | undefined;
  readonly scope: object;
  readonly #ambient: boolean;
  readonly #retry: BudgetedRetry | undefined;
  readonly #bulkhead: SemaphoreBulkhead | undefined;
  readonly #timeout: CallTimeout | undefined;
  readonly #clock: Clock;
  /** Whether a tick is too long for the time of its calls. */
  readonly #exact: boolean;

  constructor(options: PolicyOptions) {
    const { name, retry, breaker, bulkhead, timeout, clock = systemClock, random } = options;
    this.scope = options.scope ?? this;
    const shared = { name, scope: this.scope, clock, ...(random === undefined ? {} : { random }) };
    this.name = name;
    this.#clock = clock;
    this.#retry = retry === false ? undefined : new BudgetedRetry({ ...retry, ...shared });
    this.#ambient = this.#retry?.ambient === true;
    this.breaker = breaker === false ? undefined : new BreakerMachine({ ...breaker, ...shared });
    this.#bulkhead =
      bulkhead === false
        ? undefined
        : new SemaphoreBulkhead(bulkheadSettings({ max: policyDefaults.max, ...bulkhead, ...shared }));
    this.#timeout =
      timeout === false
        ? undefined
        : new CallTimeout({ ms: policyDefaults.timeoutMs, ...timeout, name, clock });
    this.#exact = clock !== systemClock || (this.#timeout?.calls.ms ?? 0) < tickMs * 16;
  }

  run<T>(work: Work<T>, call: PolicyCall = nothingSaid): Promise<T> {
    const straight = this.#straight(work, call);
    if (straight !== undefined) return straight;
    const weight = call.weight ?? 1;
    return this.#retry === undefined
      ? this.#attempt(work, call.within ?? plainAttempt, weight)
      : this.#retry.run((attempt) => this.#attempt(work, attempt, weight), call);
  }

  /**
   * The call where every guard lets it through at once: one object and one reaction to the work for all of them, where
   * guards around each other take one each. Undefined, and nothing done, where one of them has to be asked.
   */
  #straight<T>(work: Work<T>, call: PolicyCall): Promise<T> | undefined {
    const retry = this.#retry;
    const timeout = this.#timeout;
    const { breaker } = this;
    const { within } = call;
    if (timeout === undefined || retry?.hedges === true || (call.weight ?? 1) !== 1) return undefined;
    if (breaker !== undefined && !breaker.admitsAll) return undefined;
    const around = surroundings();
    const context = contextOf(around);
    if (context?.cancellation?.cancelled === true) return undefined;
    const leftAtMs = earliestEnd(context, within);
    const sampled = retry?.timesNext === true;
    const exact = sampled || this.#exact || leftAtMs !== Infinity || breaker?.findsSlow === true;
    const tick = exact ? undefined : currentTick();
    const startedAtMs = tick === undefined ? this.#clock.monotonicMs() : tick.beganAtMs;
    if (leftAtMs <= startedAtMs) return undefined;
    if (this.#bulkhead !== undefined && !this.#bulkhead.takeOne()) return undefined;

    retry?.count();
    const again = retry?.mayRepeat(call, around) === true ? work : undefined;
    const ownAtMs = startedAtMs + timeout.calls.ms;
    const timed = new TimedCall<T>({
      calls: timeout.calls,
      context,
      within: within ?? plainAttempt,
      number: again === undefined ? (within?.number ?? 1) : 1,
      deadlineAtMs: leftAtMs <= ownAtMs ? leftAtMs : ownAtMs,
      isDeadline: leftAtMs <= ownAtMs,
      end: this,
      again,
      epoch: breaker === undefined ? 0 : breaker.enter(),
      startedAtMs,
      sampled: sampled && again !== undefined,
      tick,
    });
    return timed.until(
      again !== undefined && this.#ambient ? runInAttempt(timed, begin, work, around) : begin(work, timed),
    );
  }

  succeeded<T>({ epoch, startedAtMs, sampled }: TimedCall<T>): void {
    this.breaker?.ended(epoch, undefined, false, startedAtMs);
    this.#bulkhead?.giveBack(1);
    if (sampled) this.#retry?.record(this.#clock.monotonicMs() - startedAtMs);
  }

  failed<T>({ epoch, startedAtMs, again, within }: TimedCall<T>, error: unknown): Promise<T> | undefined {
    if (this.breaker?.counts(error) === true) this.breaker.ended(epoch, error, true, startedAtMs);
    else this.breaker?.dropped(epoch);
    this.#bulkhead?.giveBack(1);
    // It waits before it does anything: what is given up now is aborted by then.
    if (again === undefined) return undefined;
    const given = within === plainAttempt ? undefined : within;
    return this.#retry?.again((attempt) => this.#attempt(again, attempt, 1), given, 1, error);
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
      const ended = this.#endOf(attempt);
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

  /** Why nobody waits for the attempt any more; undefined while somebody does. */
  #endOf({ deadlineAtMs = Infinity }: Attempt): PlimsollError | undefined {
    const context = currentContext();
    const ended = context === undefined ? undefined : endOf(context, this.name, this.#clock);
    if (ended !== undefined || deadlineAtMs === Infinity) return ended;
    return deadlineAtMs <= this.#clock.monotonicMs() ? pastDeadline(this.name, context) : undefined;
  }

  async #wait<T>(
    bulkhead: SemaphoreBulkhead,
    work: Work<T>,
    attempt: Attempt,
    permit: Permit | undefined,
    weight: number,
  ): Promise<T> {
    let release: Release | undefined;
    try {
      release = await bulkhead.acquire(weight);
      // The bulkhead knows no attempt around this one.
      const ended = this.#endOf(attempt);
      if (ended !== undefined) throw ended;
    } catch (error) {
      permit?.drop();
      release?.();
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
