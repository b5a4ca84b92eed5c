import { currentContext } from './context.ts';

/** What a guarded call is given: one attempt of possibly several. */
export interface Attempt {
  /** Aborts when the attempt's time is up or nobody waits any more; made when it is read. */
  readonly signal: AbortSignal;
  /** 1 is the first. */
  readonly number: number;
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
