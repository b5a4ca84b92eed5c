import { LinkedList, type Link } from './linked-list.ts';

const bySignal = new WeakMap<AbortSignal, Cancellation>();

/**
 * Tells that nobody waits any more. Lighter than an `AbortController`, of which each request would need one; a
 * signal is made for who asks for it.
 */
export class Cancellation {
  #cancelled = false;
  #reason: unknown;
  readonly #listeners = new LinkedList<() => void>();
  #controller: AbortController | undefined;

  /** Cancelled with the signal. One for each signal, however many ask, so that it has one listener. */
  static of(signal: AbortSignal): Cancellation {
    const known = bySignal.get(signal);
    if (known !== undefined) return known;
    const cancellation = new Cancellation();
    bySignal.set(signal, cancellation);
    if (signal.aborted) cancellation.cancel(signal.reason);
    else signal.addEventListener('abort', () => cancellation.cancel(signal.reason), { once: true });
    return cancellation;
  }

  get cancelled(): boolean {
    return this.#cancelled;
  }

  get reason(): unknown {
    return this.#reason;
  }

  /** The first reason stays. */
  cancel(reason: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#reason = reason;
    this.#controller?.abort(reason);
    for (const listener of this.#listeners) listener();
  }

  /** The listener runs at most once, and not for what was cancelled before; until it is removed. */
  add(listener: () => void): Link<() => void> {
    return this.#listeners.add(listener);
  }

  remove(link: Link<() => void>): void {
    this.#listeners.remove(link);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#cancelled) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }
}
