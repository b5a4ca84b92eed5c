import type { Attributes } from './metrics.ts';

/** A piece of work that has ended. */
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: 'internal' | 'server' | 'client' | 'consumer';
  /** Milliseconds since the epoch, with a fraction. */
  readonly startMs: number;
  readonly durationMs: number;
  readonly attributes: Attributes;
  /** Set when it failed: what to show. */
  readonly error?: string;
}

/** A request slower than the threshold. Its inner spans are there when its trace was sampled. */
export interface SlowRequest {
  readonly request: Span;
  readonly sampled: boolean;
  readonly spans: readonly Span[];
}

/** The newest of a stream, in order; the oldest make room. */
export class Newest<Item> {
  readonly #max: number;
  readonly #items: Item[] = [];
  // Where the next one goes once the room is full.
  #next = 0;

  constructor(max: number) {
    this.#max = max;
  }

  add(item: Item): void {
    this.#items[this.#next] = item;
    this.#next = (this.#next + 1) % this.#max;
  }

  /** Oldest first. */
  list(): readonly Item[] {
    if (this.#items.length < this.#max) return [...this.#items];
    return [...this.#items.slice(this.#next), ...this.#items.slice(0, this.#next)];
  }
}
