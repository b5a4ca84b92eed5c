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
  begin(item: Item): Result | PromiseLike<Result>;
  /** After it has settled. */
  end(weight: number): void;
}

/** Whoever pushed and waits for the result. */
interface Pushed<Result> {
  readonly resolve: (result: Result | PromiseLike<Result>) => void;
  readonly reject: (reason: unknown) => void;
}

/** An item that waits: pushed, or only offered. */
interface Waiter<Item, Result> {
  readonly item: Item;
  readonly weight: number;
  readonly pushed: Pushed<Result> | undefined;
  /** The async context of its producer. */
  readonly scope: AsyncResource;
}

type Refusal = 'closed' | 'full' | 'nobody waits any more' | 'waited too long' | 'too many producers wait';

const reasons = { late: 'waited too long', ended: 'nobody waits any more' } as const;

export class BoundedQueue<Item, Result> implements Queue<Item, Result> {
  readonly line: WaitingLine<Waiter<Item, Result>>;
  readonly permits: Permits<Waiter<Item, Result>>;
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
    const context = currentContext();
    const admitted = this.#admit(weight, context);
    if (admitted === 'now') this.#serve(item, weight, undefined);
    else if (admitted === 'wait') this.#wait(item, weight, undefined, context);
    else {
      this.#refuse(admitted);
      return false;
    }
    return true;
  }

  push(item: Item): Promise<Result> {
    try {
      const weight = this.#weigh(item);
      const context = currentContext();
      const admitted = this.#admit(weight, context);
      if (admitted !== 'now' && admitted !== 'wait') throw this.#refusalError(admitted);
      return new Promise((resolve, reject) => {
        const pushed = { resolve, reject };
        if (admitted === 'now') this.#serve(item, weight, pushed);
        else this.#wait(item, weight, pushed, context);
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  space(): Promise<void> {
    if (this.closed) return Promise.reject(this.#refusalError('closed'));
    const context = currentContext();
    if (this.#endOf(context) !== undefined)
      return Promise.reject(this.#refusalError('nobody waits any more'));
    if (!this.line.full()) return Promise.resolve();
    if (this.#producers.full()) return Promise.reject(this.#refusalError('too many producers wait'));
    return this.#producers.wait(context);
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

  #wait(
    item: Item,
    weight: number,
    pushed: Pushed<Result> | undefined,
    context: RequestContext | undefined,
  ): void {
    this.line.join({ item, weight, pushed, scope: new AsyncResource('PlimsollQueue') }, context);
  }

  /** Its permits are taken. Whoever pushed is told after they are given back. */
  #serve(item: Item, weight: number, pushed: Pushed<Result> | undefined): void {
    let result: Result | PromiseLike<Result>;
    try {
      result = this.#service.begin(item);
    } catch (error) {
      this.#failed(error, item, weight, pushed);
      return;
    }
    const running = asPromise(result);
    if (running === undefined) {
      this.#service.end(weight);
      pushed?.resolve(result);
      return;
    }
    running.then(
      (value) => {
        this.#service.end(weight);
        pushed?.resolve(value);
      },
      (error: unknown) => this.#failed(error, item, weight, pushed),
    );
  }

  #failed(error: unknown, item: Item, weight: number, pushed: Pushed<Result> | undefined): void {
    if (pushed === undefined) {
      if (this.#settings.onFailure === undefined)
        background.publish({ scope: this.#scope, what: `queue ${this.name}`, error });
      else this.#tellFailure(error, item);
    }
    this.#service.end(weight);
    pushed?.reject(error);
  }

  /** `now`: its permits are taken. */
  #admit(weight: number, context: RequestContext | undefined): 'now' | 'wait' | Refusal {
    if (this.closed) return 'closed';
    if (context?.cancellation?.cancelled === true) return 'nobody waits any more';
    if (this.permits.take(weight)) {
      this.#active += weight;
      return 'now';
    }
    if (this.#endOf(context) !== undefined) return 'nobody waits any more';
    return this.line.full() ? 'full' : 'wait';
  }

  #turn(waiter: Waiter<Item, Result>): void {
    this.#active += waiter.weight;
    this.#producers.wake();
    waiter.scope.runInAsyncScope(this.#serveWaiter, undefined, waiter);
  }

  /** One for all of them. */
  readonly #serveWaiter = ({ item, weight, pushed }: Waiter<Item, Result>): void =>
    this.#serve(item, weight, pushed);

  #drop(place: Place<Waiter<Item, Result>>, reason: DropReason): void {
    const { item, pushed, scope } = place.item;
    this.#dropped += 1;
    this.#tellRefusal(reasons[reason]);
    this.#producers.wake();
    if (pushed !== undefined) pushed.reject(this.#droppedError(place, reason, 'an item waited'));
    else if (this.#settings.onFailure !== undefined) {
      const error = this.#droppedError(place, reason, 'an item waited');
      scope.runInAsyncScope(() => this.#tellFailure(error, item));
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

/** Undefined for what is surely a result already. Only promises of Node itself are known to end once. */
function asPromise<Result>(result: Result | PromiseLike<Result>): Promise<Result> | undefined {
  if (result instanceof Promise) return result as Promise<Result>;
  return typeof result === 'object' && result !== null && 'then' in result
    ? Promise.resolve(result)
    : undefined;
}
