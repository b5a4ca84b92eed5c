import { begin, type Attempt, type Guard, type Work } from '../kernel/attempt.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { currentContext, type RequestContext } from '../kernel/context.ts';
import { contextWatch, createContextWatch } from '../kernel/context-watch.ts';
import { PlimsollError, throwIfProblems, type Problem } from '../kernel/errors.ts';
import { pastDeadline, TimedCall, type TimedCalls } from './timed-call.ts';

export interface TimeoutOptions {
  /** What is called; shown in errors and state. */
  readonly name: string;
  /** Longest time for one call. Default 1000. */
  readonly ms?: number;
  readonly clock?: Clock;
}

export const timeoutDefaults = { ms: 1_000 } as const;

export interface TimeoutState {
  readonly name: string;
  readonly ms: number;
  /** Calls that somebody waits for now. */
  readonly inFlight: number;
  /** Since the start: calls that took longer than `ms`. */
  readonly timedOut: number;
  /** Since the start: calls whose caller's deadline came first, or had passed already. */
  readonly pastDeadline: number;
}

export interface Timeout extends Guard {
  readonly name: string;
  /**
   * Settles as the work does. Rejects with PL_TIMEOUT after `ms`; with PL_DEADLINE when the deadline of the context
   * comes first, at once where it has passed; with PL_ABORTED when the caller goes away. `within` is the attempt of
   * a guard around this one, whose signal then aborts this attempt's too.
   */
  run<T>(work: Work<T>, within?: Attempt): Promise<T>;
  state(): TimeoutState;
}

/** The timers of the process do for most; a clock of one's own needs timers that follow it. */
const watchOf = (clock: Clock): TimedCalls['watch'] =>
  clock === systemClock ? contextWatch : createContextWatch(clock);

/** A limit for the time of a call. No timer per call, and a signal only for work that reads it. */
export function createTimeout(options: TimeoutOptions): Timeout {
  return new CallTimeout(options);
}

/** @internal {@link Timeout}, and what a policy needs of it. */
export class CallTimeout implements Timeout {
  readonly name: string;
  readonly calls: TimedCalls;
  readonly #clock: Clock;

  constructor(options: TimeoutOptions) {
    throwIfProblems(`timeout ${options.name}`, timeoutProblems(options));
    const { name, ms = timeoutDefaults.ms, clock = systemClock } = options;
    this.name = name;
    this.#clock = clock;
    this.calls = { name, ms, watch: watchOf(clock), inFlight: 0, timedOut: 0, pastDeadline: 0 };
  }

  run<T>(work: Work<T>, within?: Attempt): Promise<T> {
    const context = currentContext();
    const nowMs = this.#clock.monotonicMs();
    const leftAtMs = earliestEnd(context, within);
    if (leftAtMs <= nowMs) {
      this.calls.pastDeadline += 1;
      return Promise.reject(pastDeadline(this.name, context));
    }
    if (context?.cancellation?.cancelled === true) {
      return Promise.reject(
        new PlimsollError('PL_ABORTED', `${this.name}: the caller went away`, {
          cause: context.cancellation.reason,
        }),
      );
    }
    const ownAtMs = nowMs + this.calls.ms;
    const call = new TimedCall<T>({
      calls: this.calls,
      context,
      within,
      number: within?.number ?? 1,
      deadlineAtMs: Math.min(leftAtMs, ownAtMs),
      isDeadline: leftAtMs <= ownAtMs,
    });
    return call.until(begin(work, call));
  }

  state(): TimeoutState {
    const { name, ms, inFlight, timedOut, pastDeadline: past } = this.calls;
    return { name, ms, inFlight, timedOut, pastDeadline: past };
  }
}

/** When whoever waits has no time left; Infinity when nothing says so. */
export function earliestEnd(context: RequestContext | undefined, within: Attempt | undefined): number {
  return Math.min(context?.deadlineAtMs ?? Infinity, within?.deadlineAtMs ?? Infinity);
}

/** A timer set for longer fires at once. */
const longestMs = 2 ** 31 - 1;

function timeoutProblems({ name, ms = timeoutDefaults.ms }: TimeoutOptions): Problem[] {
  const problems: Problem[] = [];
  if (typeof name !== 'string' || name === '')
    problems.push({ path: 'name', message: `is ${String(name)}; give a name for what is called` });
  if (!(ms > 0 && ms <= longestMs))
    problems.push({
      path: 'ms',
      message: `is ${String(ms)}; give milliseconds above 0, at most ${longestMs}`,
    });
  return problems;
}
