import { currentContext } from './context.ts';
import type { Attempt, Work } from './guard.ts';

export { repeatedAttempt, runInAttempt } from './context.ts';
export type { Attempt, Guard, Work } from './guard.ts';

const never = new AbortController().signal;

/** The attempt of a guard that adds no time limit and no repetition: the signal is that of the request. */
export const plainAttempt: Attempt = {
  get signal() {
    return currentContext()?.signal ?? never;
  },
  number: 1,
};

/** An attempt with a signal of its own, made when it is read. */
export class OwnAttempt implements Attempt {
  readonly number: number;
  /** The attempt around it, whose signal its own follows. */
  protected readonly within: Attempt | undefined;
  #state: 'open' | 'over' | 'aborted' = 'open';
  #reason: unknown;
  #controller: AbortController | undefined;
  #unfollow: (() => void) | undefined;

  constructor(number: number, within: Attempt | undefined) {
    this.number = number;
    this.within = within;
  }

  get open(): boolean {
    return this.#state === 'open';
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#state === 'aborted') this.#controller.abort(this.#reason);
      else if (this.#state === 'open') this.#follow(this.within?.signal);
    }
    return this.#controller.signal;
  }

  /** The first reason stays, and what is over is not aborted. */
  abort(reason: unknown): void {
    if (!this.#end('aborted')) return;
    this.#reason = reason;
    this.#controller?.abort(reason);
  }

  /** It has ended by itself: the signal never aborts. */
  end(): void {
    this.#end('over');
  }

  #end(state: 'over' | 'aborted'): boolean {
    if (this.#state !== 'open') return false;
    this.#state = state;
    this.#unfollow?.();
    return true;
  }

  #follow(outer: AbortSignal | undefined): void {
    if (outer === undefined) return;
    const follow = (): void => this.abort(outer.reason);
    if (outer.aborted) return follow();
    outer.addEventListener('abort', follow);
    this.#unfollow = () => outer.removeEventListener('abort', follow);
  }
}

/** A throw before the first await is a rejection too, and what is no promise is what one resolves to. */
export function begin<T>(work: Work<T>, attempt: Attempt): Promise<T> {
  try {
    const running = work(attempt);
    return running instanceof Promise ? running : Promise.resolve(running);
  } catch (error) {
    return Promise.reject(error as Error);
  }
}
