import { refusals } from '../../kernel/channels.ts';
import { currentContext, endOf } from '../../kernel/context.ts';
import type { Clock } from '../../kernel/clock.ts';
import { PlimsollError } from '../../kernel/errors.ts';
import { Permits } from '../../kernel/permits.ts';
import { WaitingLine, type DropReason, type Place } from '../../kernel/waiting-line.ts';

export interface FallbackOptions {
  readonly scope: object;
  readonly max: number;
  readonly maxWaiting: number;
  readonly maxWaitMs: number;
  readonly clock: Clock;
}

interface Waiter {
  readonly weight: 1;
  readonly resolve: () => void;
  readonly reject: (reason: PlimsollError) => void;
}

/**
 * The places for reads that the primary serves because no replica can. When replicas fail all reads want one at once:
 * those beyond are refused, so that what only the primary can do goes on.
 */
export class FallbackPlaces {
  readonly #options: FallbackOptions;
  readonly #line: WaitingLine<Waiter>;
  readonly #permits: Permits<Waiter>;

  constructor(options: FallbackOptions) {
    const { max, maxWaiting, maxWaitMs, clock } = options;
    this.#options = options;
    this.#line = new WaitingLine({
      max: maxWaiting,
      maxWaitMs,
      order: 'fifo',
      clock,
      onDropped: (place, reason) => place.item.reject(this.#dropped(place, reason)),
      onShorter: () => this.#permits.advance(),
    });
    this.#permits = new Permits(max, this.#line, (waiter) => waiter.resolve());
  }

  get inUse(): number {
    return this.#options.max - this.#permits.free;
  }

  get waiting(): number {
    return this.#line.length;
  }

  /** Settles as the read does, or rejects with PL_OVERLOADED and never makes it. */
  async run<T>(read: () => Promise<T>): Promise<T> {
    if (!this.#permits.take(1)) await this.#wait();
    try {
      return await read();
    } finally {
      this.#permits.give(1);
    }
  }

  #wait(): Promise<void> {
    if (this.#line.full()) return Promise.reject(this.#overloaded('as many wait as may'));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#line.join({ weight: 1, resolve, reject });
    return promise;
  }

  #dropped({ context }: Place<Waiter>, reason: DropReason): PlimsollError {
    const ended = context === undefined ? undefined : endOf(context, 'waiting to read from the primary');
    if (reason === 'ended' && ended !== undefined) return ended;
    return this.#overloaded(`it waited ${this.#options.maxWaitMs} ms`);
  }

  #overloaded(why: string): PlimsollError {
    const { scope, max, clock } = this.#options;
    if (refusals.hasSubscribers)
      refusals.publish({ scope, policy: 'fallback', name: 'reads on the primary', reason: why });
    return new PlimsollError(
      'PL_OVERLOADED',
      `no replica can serve the read and ${max} such reads are under way on the primary; ${why}`,
      {
        data: {
          operation: currentContext()?.operation,
          max,
          waiting: this.#line.length,
          retryAfterMs: this.#permits.estimateMs(clock.monotonicMs()),
        },
      },
    );
  }
}
