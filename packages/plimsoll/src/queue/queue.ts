import { AsyncResource } from 'node:async_hooks';
import { background, refusals } from '../kernel/channels.ts';
import { currentContext, endOf, type RequestContext } from '../kernel/context.ts';
import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { Permits } from '../kernel/permits.ts';
import { WaitingLine, type DropReason, type Place } from '../kernel/waiting-line.ts';
import { Producers } from './producers.ts';
import type { QueueSettings } from './options.ts';

export interface QueueState {
  readonly name: string;
  /** Items that wait. */
  readonly length: number;
  readonly maxLength: number;
  /** Weight under way; without a handler, items that a consumer has and is not done with. */
  readonly active: number;
  /** Items not taken: the queue was full or closed, or nobody waited for it any more. */
  readonly refused: number;
  /** Items taken and then given up: they waited too long, or nobody waited for them any more. */
  readonly dropped: number;
  /** Milliseconds that the oldest item has waited. */
  readonly oldestMs: number;
  /** Producers that wait in `space`. */
  readonly producers: number;
  readonly closed: boolean;
}

/** A bounded queue in memory: it says no when it is full, and gives up what has waited too long. */
export interface Queue<Item, Result = void> extends AsyncDisposable {
  readonly name: string;
  /** Takes the item, or says at once that it does not: the queue is full or closed. Its failure is told to `onFailure`. */
  offer(item: Item): boolean;
  /**
   * Settles as the handler does; without a handler, resolves when a consumer has taken the item. Rejects with
   * PL_QUEUE_FULL at once when the queue is full, and later when the item waited too long; with PL_DRAINING when
   * it is closed; with PL_DEADLINE or PL_ABORTED when nobody waits any more. Rejected so, it was never handled.
   */
  push(item: Item): Promise<Result>;
  /**
   * Resolves when there is space, which another producer may take first, so ask again:
   * `while (!queue.offer(item)) await queue.space()`. Rejects as `push` does.
   */
  space(): Promise<void>;
  /** Resolves when no item waits or is under way. Refuses nothing. */
  drain(): Promise<void>;
  /** Takes nothing more; resolves when what was taken has ended. Consumers end when nothing is left. */
  close(): Promise<void>;
  /** For people and health pages: plain JSON. */
  state(): QueueState;
}

/** How the work on an item begins and ends. */
export interface Service<Item, Result> {
  /** Begins with the item; its permits are taken. */
  begin(item: Item): Result | Promise<Result>;
  /** After it has settled. */
  end(weight: number): void;
}

/** An item that waits: pushed with a promise, or offered with the context of its producer. */
interface Waiter<Item> {
  readonly item: Item;
  readonly weight: number;
  readonly pushed: PromiseWithResolvers<void> | undefined;
  readonly offered: AsyncResource | undefined;
}

type Refusal = 'closed' | 'full' | 'nobody waits any more' | 'waited too long' | 'too many producers wait';

const reasons = { late: 'waited too long', ended: 'nobody waits any more' } as const;

export class BoundedQueue<Item, Result> implements Queue<Item, Result> {
  readonly line: WaitingLine<Waiter<Item>>;
  readonly permits: Permits<Waiter<Item>>;
  closed = false;
  readonly #settings: QueueSettings<Item>;
  readonly #service: Service<Item, Result>;
  readonly #scope: object;
  readonly #producers: Producers;
  #active = 0;
  #refused = 0;
  #dropped = 0;
  /** While somebody waits for the end of everything. */
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(settings: QueueSettings<Item>, permits: number, service: Service<Item, Result>) {
    const { maxLength, maxWaitMs, order, maxProducers, clock } = settings;
    this.#settings = settings;
    this.#service = service;
    this.#scope = settings.scope ?? this;
    this.line = new WaitingLine({
      max: maxLength,
      maxWaitMs,
      order,
      clock,
      onDropped: (place, reason) => this.#drop(place, reason),
      onShorter: () => {
        this.permits.advance();
        this.#tellIdle();
      },
    });
    this.permits = new Permits(permits, this.line, (waiter) => this.#turn(waiter));
    this.#producers = new Producers({
      max: maxProducers,
      maxWaitMs,
      clock,
      hasSpace: () => this.line.length < maxLength,
      dropError: (place, reason) => {
        this.#refuse(reasons[reason]);
        return this.#droppedError(place, reason, 'a producer waited for space');
      },
    });
  }

  get name(): string {
    return this.#settings.name;
  }

  offer(item: Item): boolean {
    const weight = this.#weigh(item);
    const admitted = this.#admit(weight);
    if (admitted === 'now') void this.#serveOffered(item, weight);
    else if (admitted === 'wait') {
      const offered = new AsyncResource('PlimsollQueue');
      this.line.join({ item, weight, pushed: undefined, offered });
    } else {
      this.#refuse(admitted);
      return false;
    }
    return true;
  }

  push(item: Item): Promise<Result> {
    try {
      const weight = this.#weigh(item);
      const admitted = this.#admit(weight);
      if (admitted === 'now') return this.#serve(item, weight, undefined);
      if (admitted !== 'wait') throw this.#refusalError(admitted);
      const pushed = Promise.withResolvers<void>();
      this.line.join({ item, weight, pushed, offered: undefined });
      return this.#serve(item, weight, pushed.promise);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  space(): Promise<void> {
    if (this.closed) return Promise.reject(this.#refusalError('closed'));
    if (this.#endOf(currentContext()) !== undefined)
      return Promise.reject(this.#refusalError('nobody waits any more'));
    if (!this.line.full()) return Promise.resolve();
    if (this.#producers.full()) return Promise.reject(this.#refusalError('too many producers wait'));
    return this.#producers.wait();
  }

  drain(): Promise<void> {
    this.#idle ??= Promise.withResolvers();
    const { promise } = this.#idle;
    this.#tellIdle();
    return promise;
  }

  close(): Promise<void> {
    this.closed = true;
    this.#producers.wakeAll();
    return this.drain();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  state(): QueueState {
    const { name, maxLength } = this.#settings;
    return {
      name,
      length: this.line.length,
      maxLength,
      active: this.#active,
      refused: this.#refused,
      dropped: this.#dropped,
      oldestMs: this.line.oldestMs,
      producers: this.#producers.length,
      closed: this.closed,
    };
  }

  /** An item has been dealt with. */
  ended(weight: number): void {
    this.#active -= weight;
    this.#tellIdle();
  }

  async #serve(item: Item, weight: number, turn: Promise<void> | undefined): Promise<Result> {
    if (turn !== undefined) await turn;
    try {
      return await this.#service.begin(item);
    } finally {
      this.#service.end(weight);
    }
  }

  /** Never rejects. */
  async #serveOffered(item: Item, weight: number): Promise<void> {
    try {
      await this.#service.begin(item);
    } catch (error) {
      if (this.#settings.onFailure === undefined)
        background.publish({ scope: this.#scope, what: `queue ${this.name}`, error });
      else this.#tellFailure(error, item);
    } finally {
      this.#service.end(weight);
    }
  }

  /** `now`: its permits are taken. */
  #admit(weight: number): 'now' | 'wait' | Refusal {
    if (this.closed) return 'closed';
    const context = currentContext();
    if (context?.cancellation?.cancelled === true) return 'nobody waits any more';
    if (this.permits.take(weight)) {
      this.#active += weight;
      return 'now';
    }
    if (this.#endOf(context) !== undefined) return 'nobody waits any more';
    return this.line.full() ? 'full' : 'wait';
  }

  #turn({ item, weight, pushed, offered }: Waiter<Item>): void {
    this.#active += weight;
    this.#producers.wake();
    if (pushed !== undefined) pushed.resolve();
    else void offered?.runInAsyncScope(() => this.#serveOffered(item, weight));
  }

  #drop(place: Place<Waiter<Item>>, reason: DropReason): void {
    const { item, pushed, offered } = place.item;
    this.#dropped += 1;
    this.#tellRefusal(reasons[reason]);
    this.#producers.wake();
    if (pushed !== undefined) pushed.reject(this.#droppedError(place, reason, 'an item waited'));
    else if (this.#settings.onFailure !== undefined) {
      const error = this.#droppedError(place, reason, 'an item waited');
      offered?.runInAsyncScope(() => this.#tellFailure(error, item));
    }
  }

  /** Nothing that the hook does may stop the queue. */
  #tellFailure(failure: unknown, item: Item): void {
    try {
      this.#settings.onFailure?.(failure, item);
    } catch (error) {
      background.publish({ scope: this.#scope, what: `onFailure of queue ${this.name}`, error });
    }
  }

  #tellIdle(): void {
    if (this.#idle === undefined || this.#active > 0 || this.line.length > 0) return;
    this.#idle.resolve();
    this.#idle = undefined;
  }

  #weigh(item: Item): number {
    const { weight, concurrency, name } = this.#settings;
    if (weight === undefined) return 1;
    const weighed = weight(item);
    if (Number.isSafeInteger(weighed) && weighed >= 1 && weighed <= concurrency) return weighed;
    const message = `gave ${weighed}; give an integer from 1 to concurrency, which is ${concurrency}`;
    return throwIfProblems(`an item of queue ${name}`, [{ path: 'weight', message }]) ?? 1;
  }

  #endOf(context: RequestContext | undefined): PlimsollError | undefined {
    if (context === undefined) return undefined;
    return endOf(context, `an item of queue ${this.name}`, this.#settings.clock);
  }

  #refuse(reason: Refusal): void {
    this.#refused += 1;
    this.#tellRefusal(reason);
  }

  #tellRefusal(reason: string): void {
    if (!refusals.hasSubscribers) return;
    refusals.publish({ scope: this.#scope, policy: 'queue', name: this.name, reason });
  }

  #refusalError(reason: Refusal): PlimsollError {
    this.#refuse(reason);
    const { name, maxLength, maxProducers } = this.#settings;
    const ended = reason === 'nobody waits any more' ? this.#endOf(currentContext()) : undefined;
    if (ended !== undefined) return ended;
    if (reason === 'closed')
      return new PlimsollError('PL_DRAINING', `queue ${name} is closed and takes nothing more`, {
        data: { name },
      });
    return this.#fullError(
      reason === 'full'
        ? `${this.line.length} of ${maxLength} items wait`
        : `${maxProducers} of ${maxProducers} producers wait for space already`,
    );
  }

  #droppedError({ context }: Place<unknown>, reason: DropReason, what: string): PlimsollError {
    const ended = reason === 'ended' ? this.#endOf(context) : undefined;
    return ended ?? this.#fullError(`${what} ${this.#settings.maxWaitMs} ms, as long as maxWaitMs allows`);
  }

  #fullError(what: string): PlimsollError {
    const { name, maxLength, clock } = this.#settings;
    const retryAfterMs = this.permits.estimateMs(clock.monotonicMs());
    return new PlimsollError(
      'PL_QUEUE_FULL',
      `queue ${name}: ${what}; try again in about ${retryAfterMs} ms, or send less`,
      { data: { name, retryAfterMs, length: this.line.length, maxLength } },
    );
  }
}
