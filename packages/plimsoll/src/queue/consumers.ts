import { LinkedList } from '../kernel/linked-list.ts';
import { BoundedQueue, type Queue, type Service } from './queue.ts';
import type { QueueSettings } from './options.ts';

/** A queue without a handler. Each `for await` takes one item at a time, and is done with it when it asks for the next. */
export interface ConsumedQueue<Item> extends Queue<Item>, AsyncIterable<Item> {}

interface Taken<Item> {
  readonly item: Item;
}

/** Consumers that wait for an item, in the order they asked. Each of them is a permit of the queue. */
class Consumers<Item> implements Service<Item, void> {
  readonly #asking = new LinkedList<(taken: Taken<Item> | undefined) => void>();

  begin(item: Item): void {
    this.#answer({ item });
  }

  /** The consumer says when. */
  end(): void {
    // Nothing: begun is not done with.
  }

  /** Undefined when the queue is closed and nothing is left. */
  ask(queue: BoundedQueue<Item, void>): Promise<Taken<Item> | undefined> {
    const { promise, resolve } = Promise.withResolvers<Taken<Item> | undefined>();
    this.#asking.add(resolve);
    queue.permits.give(1);
    if (queue.closed) this.closed(queue);
    return promise;
  }

  /** Those for whom nothing is under way can get nothing more. */
  closed(queue: BoundedQueue<Item, void>): void {
    while (queue.permits.take(1)) this.#answer(undefined);
  }

  #answer(taken: Taken<Item> | undefined): void {
    const asking = this.#asking.first;
    if (asking === undefined) return;
    this.#asking.remove(asking);
    asking.item(taken);
  }
}

export class IteratedQueue<Item> extends BoundedQueue<Item, void> implements ConsumedQueue<Item> {
  readonly #consumers: Consumers<Item>;

  constructor(settings: QueueSettings<Item>, consumers = new Consumers<Item>()) {
    super(settings, 0, consumers);
    this.#consumers = consumers;
  }

  override close(): Promise<void> {
    const closed = super.close();
    this.#consumers.closed(this);
    return closed;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item, undefined> {
    for (;;) {
      const taken = await this.#consumers.ask(this);
      if (taken === undefined) return undefined;
      try {
        yield taken.item;
      } finally {
        this.ended(1);
      }
    }
  }
}
