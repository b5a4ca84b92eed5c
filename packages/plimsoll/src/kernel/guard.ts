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
