import { OwnAttempt, type Attempt, type Work } from '../kernel/attempt.ts';
import type { Cancellation } from '../kernel/cancellation.ts';
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

/** One call under way: its attempt, its place among the deadlines, and the promise of whoever waits. */
export class TimedCall<T> extends OwnAttempt implements Timed {
  readonly deadlineAtMs: number;
  readonly #calls: TimedCalls;
  readonly #context: RequestContext | undefined;
  /** Whether the time left was shorter than the time allowed. */
  readonly #isDeadline: boolean;
  #timed: Link<Timed> | undefined;
  #cancellation: Cancellation | undefined;
  #listening: Link<() => void> | undefined;
  #resolve: ((value: T) => void) | undefined;
  #reject: ((reason: unknown) => void) | undefined;

  constructor(
    calls: TimedCalls,
    context: RequestContext | undefined,
    within: Attempt | undefined,
    deadlineAtMs: number,
    isDeadline: boolean,
  ) {
    super(within?.number ?? 1, within);
    this.#calls = calls;
    this.#context = context;
    this.#isDeadline = isDeadline;
    this.deadlineAtMs = deadlineAtMs;
  }

  get repeats(): boolean | undefined {
    return this.within?.repeats;
  }

  start(work: Work<T>): Promise<T> {
    let running: Promise<T>;
    try {
      running = work(this);
    } catch (error) {
      this.end();
      return Promise.reject(error as Error);
    }
    this.#calls.inFlight += 1;
    this.#timed = this.#calls.watch.add(this);
    this.#cancellation = this.#context?.cancellation;
    this.#listening = this.#cancellation?.add(() => this.#onCancel());
    const waiting = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    running.then(
      (value) => {
        if (this.#leave()) this.#resolve?.(value);
      },
      (error: unknown) => {
        if (this.#leave()) this.#reject?.(error);
      },
    );
    // Cancelled by the work itself, before anybody listened.
    if (this.#cancellation?.cancelled === true) this.#onCancel();
    return waiting;
  }

  onDeadline(): void {
    if (this.#isDeadline) {
      this.#calls.pastDeadline += 1;
      this.#fail(pastDeadline(this.#calls.name, this.#context));
    } else {
      this.#calls.timedOut += 1;
      const { name, ms } = this.#calls;
      this.#fail(
        new PlimsollError(
          'PL_TIMEOUT',
          `${name} did not answer within its ${ms} ms; what was asked may or may not have been done`,
          { data: { name, timeoutMs: ms } },
        ),
      );
    }
  }

  #onCancel(): void {
    this.#fail(
      new PlimsollError('PL_ABORTED', `${this.#calls.name}: the caller went away`, {
        cause: this.#cancellation?.reason,
      }),
    );
  }

  /** Whoever waits is told before the work, which may answer the abort at once. */
  #fail(error: PlimsollError): void {
    if (this.#timed === undefined) return;
    this.#reject?.(error);
    this.abort(error);
    this.#unlink();
  }

  /** False when whoever waited was told something else before. */
  #leave(): boolean {
    if (this.#timed === undefined) return false;
    this.end();
    this.#unlink();
    return true;
  }

  #unlink(): void {
    if (this.#timed === undefined) return;
    this.#calls.inFlight -= 1;
    this.#calls.watch.remove(this.#timed);
    this.#timed = undefined;
    if (this.#listening !== undefined) this.#cancellation?.remove(this.#listening);
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
