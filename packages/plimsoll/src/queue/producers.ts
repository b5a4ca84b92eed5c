import type { Clock } from '../kernel/clock.ts';
import type { RequestContext } from '../kernel/context.ts';
import { WaitingLine, type DropReason, type Place } from '../kernel/waiting-line.ts';

interface ProducersOptions {
  readonly max: number;
  readonly maxWaitMs: number;
  readonly clock: Clock;
  readonly hasSpace: () => boolean;
  readonly dropError: (place: Place<unknown>, reason: DropReason) => Error;
}

/** Producers that wait for space in a queue. */
export class Producers {
  readonly #line: WaitingLine<PromiseWithResolvers<void>>;
  readonly #hasSpace: () => boolean;

  constructor({ max, maxWaitMs, clock, hasSpace, dropError }: ProducersOptions) {
    this.#hasSpace = hasSpace;
    this.#line = new WaitingLine({
      max,
      maxWaitMs,
      order: 'fifo',
      clock,
      onDropped: (place, reason) => place.item.reject(dropError(place, reason)),
      onShorter: () => undefined,
    });
  }

  get length(): number {
    return this.#line.length;
  }

  full(): boolean {
    return this.#line.full();
  }

  wait(context: RequestContext | undefined): Promise<void> {
    const waiting = Promise.withResolvers<void>();
    this.#line.join(waiting, context);
    return waiting.promise;
  }

  /** There is space for one. If it makes no use of it, the next one is told, once it had its chance. */
  wake(): void {
    if (this.#line.length === 0 || !this.#hasSpace()) return;
    const promise = this.#tellFirst();
    if (promise === undefined) return;
    const chance = promise.then(() => undefined);
    void chance.then(() => this.wake());
  }

  /** All of them, whether there is space or not. */
  wakeAll(): void {
    while (this.#tellFirst() !== undefined);
  }

  #tellFirst(): Promise<void> | undefined {
    const place = this.#line.turn();
    if (place === undefined) return undefined;
    this.#line.leave(place);
    place.item.resolve();
    return place.item.promise;
  }
}
