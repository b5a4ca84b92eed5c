import { plainAttempt, type Guard, type Work } from '../kernel/attempt.ts';
import { refusals } from '../kernel/channels.ts';
import { currentContext, endOf, type RequestContext } from '../kernel/context.ts';
import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { Permits } from '../kernel/permits.ts';
import { WaitingLine, type DropReason, type Place } from '../kernel/waiting-line.ts';
import { bulkheadSettings, type BulkheadOptions, type BulkheadSettings } from './options.ts';

/** Gives a permit back; a second time it does nothing. */
export type Release = () => void;

export interface BulkheadState {
  readonly name: string;
  /** Weight under way. */
  readonly active: number;
  readonly max: number;
  /** Calls that wait. */
  readonly waiting: number;
  readonly maxWaiting: number;
  /** Milliseconds that the oldest of them has waited. */
  readonly oldestMs: number;
  /** Calls refused since the start: full, waited too long, or nobody waited any more. */
  readonly refused: number;
}

/** Lets at most so many calls be under way at once; a few more wait for a short time. */
export interface Bulkhead extends Guard {
  readonly name: string;
  /**
   * Settles as the call does; its permit is given back when it has settled. `weight` is how many of the permits it
   * takes, default 1. Rejects with PL_BULKHEAD_FULL when no more may wait or it waited too long, with PL_DEADLINE
   * or PL_ABORTED when nobody waits any more; the call is then never made.
   */
  run<T>(work: Work<T>, weight?: number): Promise<T>;
  /** A permit by hand, or undefined when one would have to wait for it. */
  tryAcquire(weight?: number): Release | undefined;
  /** A permit by hand; waits and rejects as `run` does. Without a release it is lost: prefer `run`. */
  acquire(weight?: number): Promise<Release>;
  /** Resolves when nothing is under way and nobody waits. Refuses nothing. */
  drain(): Promise<void>;
  /** For people and health pages: plain JSON. */
  state(): BulkheadState;
}

/** A call, or somebody with `acquire`, that waits. */
interface Waiter {
  readonly weight: number;
  readonly resolve: () => void;
  readonly reject: (reason: PlimsollError) => void;
}

/** PL_CONFIG names every option that is not allowed. */
export function createBulkhead(options: BulkheadOptions): Bulkhead {
  return new SemaphoreBulkhead(bulkheadSettings(options));
}

/** @internal {@link Bulkhead}, and what a policy needs of it. */
export class SemaphoreBulkhead implements Bulkhead {
  readonly #settings: BulkheadSettings;
  readonly #scope: object;
  readonly #line: WaitingLine<Waiter>;
  readonly #permits: Permits<Waiter>;
  #refused = 0;
  /** While somebody waits for the end of everything. */
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(settings: BulkheadSettings) {
    const { max, maxWaiting, maxWaitMs, order, clock } = settings;
    this.#settings = settings;
    this.#scope = settings.scope ?? this;
    this.#line = new WaitingLine({
      max: maxWaiting,
      maxWaitMs,
      order,
      clock,
      onDropped: (place, reason) => place.item.reject(this.#dropped(place, reason)),
      onShorter: () => this.#permits.advance(),
    });
    this.#permits = new Permits(max, this.#line, (waiter) => waiter.resolve());
  }

  get name(): string {
    return this.#settings.name;
  }

  run<T>(work: Work<T>, weight = 1): Promise<T> {
    try {
      return this.#take(weight) ? this.#start(work, weight) : this.#startLater(work, weight);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  tryAcquire(weight = 1): Release | undefined {
    this.#assertWeight(weight);
    return this.#permits.take(weight) ? this.#release(weight) : undefined;
  }

  async acquire(weight = 1): Promise<Release> {
    if (!this.#take(weight)) await this.#wait(weight);
    return this.#release(weight);
  }

  drain(): Promise<void> {
    this.#idle ??= Promise.withResolvers();
    const { promise } = this.#idle;
    this.#tellIdle();
    return promise;
  }

  state(): BulkheadState {
    const { name, max, maxWaiting } = this.#settings;
    return {
      name,
      active: max - this.#permits.free,
      max,
      waiting: this.#line.length,
      maxWaiting,
      oldestMs: this.#line.oldestMs,
      refused: this.#refused,
    };
  }

  async #start<T>(work: Work<T>, weight: number): Promise<T> {
    try {
      return await work(plainAttempt);
    } finally {
      this.giveBack(weight);
    }
  }

  async #startLater<T>(work: Work<T>, weight: number): Promise<T> {
    await this.#wait(weight);
    try {
      return await work(plainAttempt);
    } finally {
      this.giveBack(weight);
    }
  }

  /** True with the permits taken; false when it has to wait. Throws when nobody waits for it any more. */
  #take(weight: number): boolean {
    this.#assertWeight(weight);
    const context = currentContext();
    if (context?.cancellation?.cancelled === true) throw this.#endOf(context) as PlimsollError;
    return this.#permits.take(weight);
  }

  /** Until the permits are taken. */
  #wait(weight: number): Promise<void> {
    const context = currentContext();
    const ended = this.#endOf(context);
    if (ended !== undefined) throw ended;
    if (this.#line.full()) throw this.#full('full');
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#line.join({ weight, resolve, reject }, context);
    return promise;
  }

  #release(weight: number): Release {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.giveBack(weight);
    };
  }

  /** One permit, without a release: false when one would have to wait for it. */
  takeOne(): boolean {
    return this.#permits.take(1);
  }

  giveBack(weight: number): void {
    this.#permits.give(weight);
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.#idle === undefined) return;
    if (this.#line.length > 0 || this.#permits.free < this.#settings.max) return;
    this.#idle.resolve();
    this.#idle = undefined;
  }

  #assertWeight(weight: number): void {
    if (weight === 1) return;
    const { name, max } = this.#settings;
    if (Number.isSafeInteger(weight) && weight >= 1 && weight <= max) return;
    const message = `is ${weight}; give an integer from 1 to max, which is ${max}`;
    throwIfProblems(`a call through bulkhead ${name}`, [{ path: 'weight', message }]);
  }

  /** Why it was dropped from the line. */
  #dropped({ context }: Place<Waiter>, reason: DropReason): PlimsollError {
    return (reason === 'ended' ? this.#endOf(context) : undefined) ?? this.#full('waited too long');
  }

  #endOf(context: RequestContext | undefined): PlimsollError | undefined {
    if (context === undefined) return undefined;
    const { name, clock } = this.#settings;
    const ended = endOf(context, `a call through bulkhead ${name}`, clock);
    if (ended !== undefined) this.#refuse('nobody waits any more');
    return ended;
  }

  #full(reason: 'full' | 'waited too long'): PlimsollError {
    this.#refuse(reason);
    const { name, max, maxWaiting, maxWaitMs, clock } = this.#settings;
    const retryAfterMs = this.#permits.estimateMs(clock.monotonicMs());
    const { length: waiting } = this.#line;
    const active = max - this.#permits.free;
    const what =
      reason === 'full'
        ? `${active} of ${max} permits are taken and ${waiting} of ${maxWaiting} calls wait`
        : `a call waited ${maxWaitMs} ms for a permit, as long as maxWaitMs allows`;
    return new PlimsollError(
      'PL_BULKHEAD_FULL',
      `bulkhead ${name}: ${what}; try again in about ${retryAfterMs} ms, or raise max if what it guards can take more`,
      { data: { name, retryAfterMs, active, max, waiting, maxWaiting } },
    );
  }

  #refuse(reason: string): void {
    this.#refused += 1;
    if (!refusals.hasSubscribers) return;
    refusals.publish({ scope: this.#scope, policy: 'bulkhead', name: this.#settings.name, reason });
  }
}
