import { AsyncLocalStorage } from 'node:async_hooks';
import { currentContext } from './context.ts';

/** What a guarded call is given: one attempt of possibly several. */
export interface Attempt {
  /** Aborts when the attempt's time is up or nobody waits any more; made when it is read. */
  readonly signal: AbortSignal;
  /** 1 is the first. */
  readonly number: number;
  /** When its own time is up, on the monotonic clock; undefined without a limit of its own. */
  readonly deadlineAtMs?: number | undefined;
  /** Whether whoever made it may make another. Guards inside must not repeat then: each layer would multiply. */
  readonly repeats?: boolean | undefined;
}

/** The call to be guarded. */
export type Work<T> = (attempt: Attempt) => Promise<T>;

/** One way to guard calls; guards are put around each other. */
export interface Guard {
  /** Settles as the call does, or rejects with the guard's own refusal. */
  run<T>(work: Work<T>): Promise<T>;
}

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

const attempts = new AsyncLocalStorage<Attempt>();

/** The attempt that runs here and may be made again by whoever began it, outside of this. */
export function repeatedAttempt(): Attempt | undefined {
  const attempt = attempts.getStore();
  // Work that outlives its call inherits the attempt; nobody would make it again any more.
  return attempt?.repeats === true ? attempt : undefined;
}

/** Runs `fn` so that everything it calls, however deep, sees that the attempt may be made again. */
export function runInAttempt<Given extends readonly unknown[], T>(
  attempt: Attempt,
  fn: (...given: Given) => T,
  ...given: Given
): T {
  return attempts.run(attempt, fn, ...given);
}
