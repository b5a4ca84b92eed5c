import { OwnAttempt, type Attempt, type Work } from '../kernel/attempt.ts';
import { systemClock } from '../kernel/clock.ts';
import type { Tick } from '../kernel/coarse-clock.ts';
import type { RequestContext } from '../kernel/context.ts';
import type { ContextWatch, Timed } from '../kernel/context-watch.ts';
import { PlimsollError } from '../kernel/errors.ts';
import type { Link } from '../kernel/linked-list.ts';

/** What the calls of one guard share. */
export interface TimedCalls {
  readonly name: string;
  readonly ms: number;
  readonly watch: ContextWatch;
  inFlight: number;
  timedOut: number;
  pastDeadline: number;
}

/** Told, once, how a call ended for whoever waited, before that is told. */
export interface CallEnd {
  succeeded<T>(call: TimedCall<T>): void;
  /** What whoever waits gets instead of the error; undefined: the error. */
  failed<T>(call: TimedCall<T>, error: unknown): Promise<T> | undefined;
}

export interface TimedCallGiven<T> {
  readonly calls: TimedCalls;
  readonly context: RequestContext | undefined;
  readonly within: Attempt | undefined;
  readonly number: number;
  readonly deadlineAtMs: number;
  /** Whether that is not the time allowed, but what the request or the attempt around it has left. */
  readonly isDeadline: boolean;
  readonly end?: CallEnd;
  /** What `end` may do again; undefined when it may not. */
  readonly again?: Work<T> | undefined;
  readonly epoch?: number;
  readonly startedAtMs?: number;
  readonly sampled?: boolean;
  /** In which it began, where the time is not known better; then the deadline is reckoned from its beginning. */
  readonly tick?: Tick | undefined;
}

/**
 * One call under way: its attempt, its link among the deadlines, and the promise of whoever waits. All in one object,
 * without a class above it: it is made for every call, and each constructor more took some 25 ns.
 */
export class TimedCall<T> implements Attempt, Timed, Link<Timed> {
  readonly number: number;
  /** Changes only while it is in no list. */
  deadlineAtMs: number;
  readonly again: Work<T> | undefined;
  /** For whoever made it: of the breaker's permit. */
  readonly epoch: number;
  readonly startedAtMs: number;
  /** Whether its duration is to be told to the retry. */
  readonly sampled: boolean;
  // Of the list of deadlines, which alone sets them.
  previous: Link<Timed> | undefined = undefined;
  next: Link<Timed> | undefined = undefined;
  readonly within: Attempt | undefined;
  readonly #calls: TimedCalls;
  readonly #context: RequestContext | undefined;
  readonly #isDeadline: boolean;
  readonly #end: CallEnd | undefined;
  readonly #tick: Tick | undefined;
  /** Until whoever waits was told. */
  #waitedFor = true;
  /** Made for work that reads its signal, or when it is given up. */
  #own: OwnAttempt | undefined = undefined;
  #listening: Link<() => void> | undefined = undefined;
  #resolve: ((value: T | PromiseLike<T>) => void) | undefined = undefined;
  #reject: ((reason: unknown) => void) | undefined = undefined;
  /** Of a call that may be made again. */
  #failLater: ((error: unknown) => void) | undefined = undefined;

  constructor(given: TimedCallGiven<T>) {
    this.number = given.number;
    this.deadlineAtMs = given.deadlineAtMs;
    this.again = given.again;
    this.epoch = given.epoch ?? 0;
    this.startedAtMs = given.startedAtMs ?? 0;
    this.sampled = given.sampled ?? false;
    this.within = given.within;
    this.#calls = given.calls;
    this.#context = given.context;
    this.#isDeadline = given.isDeadline;
    this.#end = given.end;
    this.#tick = given.tick;
  }

  get item(): Timed {
    return this;
  }

  get repeats(): boolean | undefined {
    return this.again === undefined ? this.within?.repeats : this.#waitedFor;
  }

  get signal(): AbortSignal {
    return this.#attempt.signal;
  }

  /** Waits for what the work gave. */
  until(running: Promise<T>): Promise<T> {
    const waiting = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    running.then(
      (value) => {
        if (this.#leave()) this.#succeed(value);
      },
      (error: unknown) => {
        if (this.#leave()) this.#fail(error);
      },
    );
    this.#calls.inFlight += 1;
    this.#calls.watch.addLink(this);
    // Whoever gives it up is a timer or the caller's end; a reaction runs where the call was made, and so does what is
    // made again. An `AsyncResource` in place of the promise took three times as long.
    if (this.again !== undefined)
      void new Promise<unknown>((resolve) => {
        this.#failLater = resolve;
      }).then((error) => this.#fail(error));
    const cancellation = this.#context?.cancellation;
    if (cancellation !== undefined) {
      this.#listening = cancellation.add(() => this.#onCancel());
      // Cancelled by the work itself, before anybody listened.
      if (cancellation.cancelled) this.#onCancel();
    }
    return waiting;
  }

  onDeadline(): void {
    const { name, ms } = this.#calls;
    if (this.#isDeadline) {
      this.#calls.pastDeadline += 1;
      this.#giveUp(pastDeadline(name, this.#context));
    } else if (!this.#isEarly()) {
      this.#calls.timedOut += 1;
      this.#giveUp(
        new PlimsollError(
          'PL_TIMEOUT',
          `${name} did not answer within its ${ms} ms; what was asked may or may not have been done`,
          { data: { name, timeoutMs: ms } },
        ),
      );
    }
  }

  /** Whether it may have begun later than its deadline was reckoned from; then it has the time that it may lack. */
  #isEarly(): boolean {
    if (this.#tick === undefined) return false;
    const nowMs = systemClock.monotonicMs();
    const endsAtMs = Math.min(this.#tick.endedAtMs, nowMs) + this.#calls.ms;
    if (nowMs >= endsAtMs) return false;
    this.deadlineAtMs = endsAtMs;
    this.#calls.watch.addLink(this);
    return true;
  }

  get #attempt(): OwnAttempt {
    if (this.#own === undefined) {
      this.#own = new OwnAttempt(this.number, this.within);
      if (!this.#waitedFor) this.#own.end();
    }
    return this.#own;
  }

  #onCancel(): void {
    this.#giveUp(
      new PlimsollError('PL_ABORTED', `${this.#calls.name}: the caller went away`, {
        cause: this.#context?.cancellation?.reason,
      }),
    );
  }

  /** Whoever waits is told before the work, which may answer the abort at once. */
  #giveUp(error: PlimsollError): void {
    if (!this.#waitedFor) return;
    const attempt = this.#attempt;
    this.#unlink();
    if (this.#failLater === undefined) this.#fail(error);
    else this.#failLater(error);
    attempt.abort(error);
  }

  #succeed(value: T): void {
    this.#end?.succeeded(this);
    this.#resolve?.(value);
  }

  #fail(error: unknown): void {
    const instead = this.#end?.failed(this, error);
    if (instead === undefined) this.#reject?.(error);
    else this.#resolve?.(instead);
  }

  /** False when whoever waited was told something else before. */
  #leave(): boolean {
    if (!this.#waitedFor) return false;
    this.#own?.end();
    this.#unlink();
    return true;
  }

  #unlink(): void {
    this.#waitedFor = false;
    this.#calls.inFlight -= 1;
    this.#calls.watch.remove(this);
    if (this.#listening === undefined) return;
    this.#context?.cancellation?.remove(this.#listening);
    this.#listening = undefined;
  }
}

export function pastDeadline(name: string, context: RequestContext | undefined): PlimsollError {
  return new PlimsollError(
    'PL_DEADLINE',
    `${name}: the deadline of ${context?.path[0] ?? 'the request'} has passed`,
    { data: { name, path: context?.path ?? [] } },
  );
}
