import { begin, plainAttempt } from '../kernel/attempt.ts';
import type { Attempt, Guard, Work } from '../kernel/guard.ts';
import { refusals, retries } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import {
  contextOf,
  currentContext,
  endOf,
  repeatedAttempt,
  runInAttempt,
  surroundings,
  type Surroundings,
} from '../kernel/context.ts';
import { contextWatch, createContextWatch } from '../kernel/context-watch.ts';
import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { createRetryBudget, type RetryBudget, type RetryBudgetState } from './budget.ts';
import { Durations } from './durations.ts';
import { hedgedCall, type HedgeRules } from './hedged-call.ts';
import { retryDefaults, retryProblems, type RetryOptions } from './options.ts';
import { RepeatAttempt } from './repeat-attempt.ts';
import { isEnd, isRetryable, retryAfterOf } from './retryable.ts';

/** What one call says of itself. */
export interface RetryCall {
  /** Whether the work may be done twice. Default: as the guard says. */
  readonly safe?: boolean;
  /** False for safe work that must not run beside itself, such as a command with its key. Default true. */
  readonly hedge?: boolean;
  /** The attempt of a guard around this one: its deadline, its signal, and whether it repeats, hold here too. */
  readonly within?: Attempt;
}

export interface RetryState {
  readonly name: string;
  /** Since the start: first calls, calls made again, calls made beside another. */
  readonly calls: number;
  readonly retries: number;
  readonly hedges: number;
  /** Of the last calls that succeeded; 0 while there is none. */
  readonly p50Ms: number;
  readonly budget: RetryBudgetState;
}

export interface Retry extends Guard {
  readonly name: string;
  /**
   * Settles as the last attempt does; PL_ABORTED when the caller has gone before the first or goes between two. Work that is not safe, or that
   * a retry around this one repeats, is done once.
   */
  run<T>(work: Work<T>, call?: RetryCall): Promise<T>;
  state(): RetryState;
}

/** One in so many calls is timed, for the typical duration. */
const timedEvery = 16;
/** A 95th percentile of fewer says nothing. */
const hedgeFrom = 20;
const nothingSaid: RetryCall = {};

/** Makes failed calls again: what is safe, within the deadline, within a budget, and at one layer only. */
export function createRetry(options: RetryOptions): Retry {
  return new BudgetedRetry(options);
}

/** @internal {@link Retry}, and what a policy needs of it. */
export class BudgetedRetry implements Retry {
  readonly name: string;
  readonly #options: Required<Omit<RetryOptions, 'budget' | 'hedge' | 'scope'>>;
  readonly #clock: Clock;
  readonly #scope: object;
  readonly #budget: RetryBudget;
  readonly #hedge: (HedgeRules & { readonly delayMs: number | undefined }) | undefined;
  readonly #durations = new Durations();
  #calls = 0;
  #retries = 0;
  #hedges = 0;

  constructor({ budget, hedge, scope, ...given }: RetryOptions) {
    throwIfProblems(`retry ${given.name}`, retryProblems(hedge === undefined ? given : { ...given, hedge }));
    const { clock = systemClock, random = Math.random, retryable = isRetryable } = given;
    this.name = given.name;
    this.#options = { ...retryDefaults, ...given, clock, random, retryable };
    this.#clock = clock;
    this.#scope = scope ?? this;
    this.#budget = budget ?? createRetryBudget({ clock });
    this.#hedge = hedge && {
      name: this.name,
      ambient: this.#options.ambient,
      watch: clock === systemClock ? contextWatch : createContextWatch(clock),
      nowMs: () => clock.monotonicMs(),
      delayMs: hedge.delayMs,
      retryable: (error) => this.#isRetryable(error),
      mayHedge: (within) => this.#mayHedge(within),
      onSuccess: (tookMs) => this.#durations.record(tookMs),
    };
  }

  run<T>(work: Work<T>, call: RetryCall = nothingSaid): Promise<T> {
    const { within } = call;
    const around = surroundings();
    const cancellation = contextOf(around)?.cancellation;
    if (cancellation?.cancelled === true)
      return Promise.reject(
        new PlimsollError('PL_ABORTED', `${this.name}: the caller went away`, { cause: cancellation.reason }),
      );
    this.count();
    if (!this.mayRepeat(call, around)) return begin(work, within ?? plainAttempt);
    const delayMs = call.hedge === false ? undefined : this.#hedgeDelayMs();
    if (delayMs === undefined || this.#hedge === undefined) return this.#first(work, within);
    const made = { count: 0 };
    return hedgedCall(work, within, delayMs, this.#hedge, made).catch((error: unknown) =>
      this.again(work, within, made.count, error),
    );
  }

  get ambient(): boolean {
    return this.#options.ambient;
  }

  get hedges(): boolean {
    return this.#hedge !== undefined;
  }

  /** A first call. */
  count(): void {
    this.#calls += 1;
    this.#budget.deposit();
  }

  /** Whether the next call is to be timed, for `record`. */
  get timesNext(): boolean {
    return (this.#calls + 1) % timedEvery === 1;
  }

  /** Whether the call may be made again, and by this guard. */
  mayRepeat({ safe = this.#options.safe, within }: RetryCall, around: Surroundings): boolean {
    if (!safe || this.#options.attempts === 1) return false;
    return within?.repeats !== true && repeatedAttempt(around) === undefined;
  }

  record(tookMs: number): void {
    this.#durations.record(tookMs);
  }

  state(): RetryState {
    return {
      name: this.name,
      calls: this.#calls,
      retries: this.#retries,
      hedges: this.#hedges,
      p50Ms: this.#durations.percentileMs(0.5),
      budget: this.#budget.state(),
    };
  }

  #first<T>(work: Work<T>, within: Attempt | undefined): Promise<T> {
    const attempt = new RepeatAttempt(1, within);
    const isTimed = this.#calls % timedEvery === 1;
    const startedMs = isTimed ? this.#clock.monotonicMs() : 0;
    return this.#begin(work, attempt).then(
      (value) => {
        attempt.end();
        if (isTimed) this.#durations.record(this.#clock.monotonicMs() - startedMs);
        return value;
      },
      (error: unknown) => {
        attempt.end();
        return this.again(work, within, 1, error);
      },
    );
  }

  #begin<T>(work: Work<T>, attempt: Attempt): Promise<T> {
    return this.#options.ambient ? runInAttempt(attempt, begin, work) : begin(work, attempt);
  }

  /** After `before` attempts of which the last one failed. */
  async again<T>(work: Work<T>, within: Attempt | undefined, before: number, error: unknown): Promise<T> {
    let last = error;
    for (let made = before; ; made += 1) {
      const waitMs = this.#waitBeforeNext(made, last, within);
      if (waitMs === undefined) throw last;
      this.#retries += 1;
      if (retries.hasSubscribers) {
        const { name } = this;
        const next = { kind: 'retry', attempt: made + 1, delayMs: waitMs, error: last } as const;
        retries.publish({ scope: this.#scope, name, ...next });
      }
      await this.#wait(waitMs, within);
      const attempt = new RepeatAttempt(made + 1, within);
      try {
        return await this.#begin(work, attempt);
      } catch (failure) {
        last = failure;
      } finally {
        attempt.end();
      }
    }
  }

  /** Undefined when it is over. The budget is asked last, so that only what will be made is taken from it. */
  #waitBeforeNext(made: number, error: unknown, within: Attempt | undefined): number | undefined {
    const { attempts, baseMs, maxMs, maxRetryAfterMs, random } = this.#options;
    if (made >= attempts || !this.#isRetryable(error) || this.#isGone(within)) return undefined;
    const askedMs = retryAfterOf(error, () => this.#clock.now()) ?? 0;
    if (askedMs > maxRetryAfterMs) return undefined;
    // Full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015), on top of what was asked for: all who were
    // told the same time would come back at the same time.
    const waitMs = askedMs + random() * Math.min(maxMs, baseMs * 2 ** Math.min(made - 1, 30));
    if (!this.#isTimeFor(waitMs, within)) return undefined;
    return this.#take('retry') ? waitMs : undefined;
  }

  #isRetryable(error: unknown): boolean {
    return !isEnd(error) && this.#options.retryable(error);
  }

  #isGone(within: Attempt | undefined): boolean {
    return currentContext()?.cancellation?.cancelled === true || within?.signal.aborted === true;
  }

  /** Whether a typical call would still end in time. */
  #isTimeFor(waitMs: number, within: Attempt | undefined): boolean {
    const endsAtMs = Math.min(currentContext()?.deadlineAtMs ?? Infinity, within?.deadlineAtMs ?? Infinity);
    if (endsAtMs === Infinity) return true;
    return endsAtMs - this.#clock.monotonicMs() > waitMs + this.#durations.percentileMs(0.5);
  }

  #take(what: 'retry' | 'hedge'): boolean {
    if (this.#budget.withdraw()) return true;
    if (refusals.hasSubscribers)
      refusals.publish({
        scope: this.#scope,
        policy: 'retry-budget',
        name: this.name,
        reason: `no ${what}: the budget is spent`,
      });
    return false;
  }

  /** Ends at once when nobody waits any more. */
  async #wait(waitMs: number, within: Attempt | undefined): Promise<void> {
    const context = currentContext();
    const signals = [context?.signal, within?.signal].filter((signal) => signal !== undefined);
    await this.#clock.sleep(waitMs, signals.length > 1 ? AbortSignal.any(signals) : signals[0]);
    const ended = context && endOf(context, this.name, this.#clock);
    if (ended !== undefined) throw ended;
    if (within?.signal.aborted === true)
      throw new PlimsollError('PL_ABORTED', `${this.name}: nobody waits any more`, {
        cause: within.signal.reason,
      });
  }

  #hedgeDelayMs(): number | undefined {
    if (this.#hedge === undefined) return undefined;
    if (this.#hedge.delayMs !== undefined) return this.#hedge.delayMs;
    return this.#durations.count < hedgeFrom ? undefined : this.#durations.percentileMs(0.95);
  }

  #mayHedge(within: Attempt | undefined): boolean {
    if (this.#isGone(within) || !this.#isTimeFor(0, within) || !this.#take('hedge')) return false;
    this.#hedges += 1;
    if (retries.hasSubscribers)
      retries.publish({
        scope: this.#scope,
        name: this.name,
        kind: 'hedge',
        attempt: 2,
        delayMs: this.#hedgeDelayMs() ?? 0,
      });
    return true;
  }
}
