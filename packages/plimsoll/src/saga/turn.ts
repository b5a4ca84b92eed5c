import type { BackoffOptions } from '../durable/backoff.ts';
import type { Clock } from '../kernel/clock.ts';
import { PlimsollError } from '../kernel/errors.ts';
import type { ArrivedEvent, AwaitedEvent } from './callable.ts';
import { SagaFailure, StepFailed, Superseded, troubleOf, type Trouble } from './failure.ts';
import type { History, NewRow, Place } from './history.ts';
import type { AnySaga } from './saga.ts';
import { callStep, type RecordStep, type RecordTx, type StepCall, type StepEnd } from './step-call.ts';

/** What an operation resolves to inside when its code goes no further in this turn; outside it never settles. */
export const blocked: unique symbol = Symbol('blocked');
export type Blocked = typeof blocked;

/** When all that code was just told has set off what it sets off: it has asked for what comes next. */
export const hasAsked = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve));

/** How a turn ended. */
export type Outcome =
  | { readonly kind: 'done'; readonly value: unknown }
  | { readonly kind: 'failed'; readonly error: string; readonly data: unknown }
  /** Everything that was begun is settled, and somebody asked for it to be undone. */
  | { readonly kind: 'ending' }
  /** In how long to go on; undefined: when the outside does something. */
  | { readonly kind: 'waits'; readonly wakeMs: number | undefined }
  | { readonly kind: 'stuck'; readonly trouble: Trouble };

/** Where a saga begins another one. */
export interface ChildPlace {
  readonly place: string;
  readonly name: string;
  /** The name of the child's saga. */
  readonly operation: string;
}

export interface TurnOptions {
  readonly id: string;
  /** Saga, id and version, for messages. */
  readonly where: string;
  readonly history: History;
  /** Set when nothing new may begin: what is under way is settled, and then undone. */
  readonly ending: boolean;
  /** Time of the database when the turn began, milliseconds since the epoch. */
  readonly atMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly backoff: BackoffOptions;
  /** How long the code may wait for something that is not a step. */
  readonly stallMs: number;
  readonly call: (step: StepCall, record: RecordStep) => Promise<unknown>;
  /** By place, what the transactions of steps failed with whose outcome an earlier run of the code had gone on with. */
  readonly failed: Map<string, unknown>;
  readonly payloadOf: (event: AwaitedEvent, arrived: ArrivedEvent) => unknown;
  readonly nameOf: (saga: AnySaga) => string;
  /** Records the beginning of a child, and makes it exist with the next write. */
  readonly startChild: (at: ChildPlace, saga: AnySaga, input: unknown) => void;
  /** What is written waits for this. Default: it need not. */
  readonly begun?: Promise<void> | undefined;
  /** Commits what the history has added; Superseded when this turn is no longer the one to write. */
  readonly save: () => Promise<void>;
  /** The same in a transaction, and the end of the saga with it where that is what the code has come to. */
  readonly saveIn: (tx: RecordTx, outcome: Outcome | undefined) => Promise<void>;
  /** One row in a transaction, and nothing else. */
  readonly saveRowIn: (tx: RecordTx, row: NewRow) => Promise<void>;
}

/**
 * One run of a saga's code, from the beginning up to where nothing can go on: it ended, or all of its branches wait.
 * What waits never settles, so its code simply does not go on; the promise is dropped with the turn.
 */
export class Turn {
  readonly history: History;
  readonly #options: TurnOptions;
  readonly #beganMs: number;
  /** Operations under way: calls, writes, validations. */
  #busy = 0;
  /** Operations that wait until a later turn. */
  #waiting = 0;
  /** Counts what happened; a look that finds it changed was too early. */
  #events = 0;
  #wakeMs: number | undefined = undefined;
  #retryMs: number | undefined = undefined;
  #trouble: Trouble | undefined = undefined;
  /** How the code ended; undefined while it goes on. */
  #ended: Outcome | undefined = undefined;
  #writing: Promise<void>;
  /** The write that has not begun; all who come before it does share it. */
  #nextWrite: Promise<void> | undefined = undefined;
  /** Ends the watch over code that waits for something else, when something happens. */
  #stalled: AbortController | undefined = undefined;
  readonly #quiet = Promise.withResolvers<void>();

  constructor(options: TurnOptions) {
    this.history = options.history;
    this.#options = options;
    this.#writing = options.begun ?? Promise.resolve();
    this.#beganMs = options.clock.monotonicMs();
    // Whoever is aborted before somebody waits must not be an unhandled rejection.
    this.#quiet.promise.catch(() => undefined);
  }

  get id(): string {
    return this.#options.id;
  }
  get where(): string {
    return this.#options.where;
  }
  get backoff(): BackoffOptions {
    return this.#options.backoff;
  }
  /** Whether something new may begin. */
  get open(): boolean {
    return !this.#options.ending && this.#ended === undefined && this.#trouble === undefined;
  }

  readonly random = (): number => this.#options.random();
  readonly nameOf: TurnOptions['nameOf'] = (saga) => this.#options.nameOf(saga);
  readonly payloadOf: TurnOptions['payloadOf'] = (event, arrived) => this.#options.payloadOf(event, arrived);
  readonly startChild: TurnOptions['startChild'] = (at, saga, input) =>
    this.#options.startChild(at, saga, input);

  /** Wall clock for the code, by the database. */
  now(): number {
    const { clock, atMs } = this.#options;
    return Math.round(atMs + clock.monotonicMs() - this.#beganMs);
  }

  leftMs(untilMs: number): number {
    const { clock, atMs } = this.#options;
    return untilMs - (atMs + clock.monotonicMs() - this.#beganMs);
  }

  /**
   * Runs an operation; its promise stays open when it is blocked, and never rejects into the saga's code. `answer`
   * answers the code before the operation has ended.
   */
  work<T>(operation: (answer: (value: T) => void) => Promise<T | Blocked>): Promise<T> {
    this.#busy += 1;
    this.#events += 1;
    this.#stalled?.abort();
    const { promise, resolve } = Promise.withResolvers<T>();
    operation(resolve)
      .then(
        (value) => {
          if (value === blocked) this.#waiting += 1;
          else resolve(value);
        },
        (error: unknown) => this.strand(error),
      )
      .finally(() => {
        this.#busy -= 1;
        this.#look();
      })
      // Nothing in there throws.
      .catch(() => undefined);
    return promise;
  }

  /** This branch goes on in a later turn, after `ms` or when the outside does something. */
  wakeIn(ms: number | undefined): Blocked {
    if (ms !== undefined) this.#wakeMs = Math.min(this.#wakeMs ?? Infinity, Math.max(0, ms));
    return blocked;
  }

  /** A step that threw is called again in a later turn; also when nothing new may begin. */
  retryIn(ms: number): Blocked {
    this.#retryMs = Math.min(this.#retryMs ?? Infinity, ms);
    return blocked;
  }

  /** A step has used up its calls. */
  exhausted(name: string, { tries, lastError }: Place): Blocked {
    this.#trouble ??= {
      ...lastError,
      message: `step ${JSON.stringify(name)} failed ${tries} times, at last with: ${lastError?.message ?? 'nothing known'}`,
    };
    return blocked;
  }

  /** The run goes no further: the code is at fault, or does not fit the history. */
  strand(error: unknown): void {
    this.#trouble ??= troubleOf(error);
    this.#waiting += 1;
    this.#look();
  }

  /** Commits what was added. Never rejects into an operation: without its record the turn is over. */
  write(): Promise<void> {
    this.#nextWrite ??= this.#writing.then(async () => {
      this.#nextWrite = undefined;
      try {
        await this.#options.save();
      } catch (error) {
        await this.#over(error as Error);
      }
    });
    this.#writing = this.#nextWrite;
    return this.#nextWrite;
  }

  /**
   * Calls the command of a step. Where it records what it came to with its effect, the code is answered before COMMIT
   * and asks for what comes next, and that commits too: between steps code does nothing but ask. What it asked for
   * waits for the commit. When that fails, the code has heard what is not so, and this run is over.
   */
  async step(step: StepCall, answer: (row: NewRow) => void): Promise<StepEnd> {
    const { call, saveIn, saveRowIn, failed } = this.#options;
    const before = failed.get(step.place);
    if (failed.delete(step.place)) return { kind: 'threw', error: before };
    try {
      return await callStep(
        {
          call,
          recordIn: async (tx, row, committed) => {
            if (this.#busy > 1) {
              // What other branches add is for them to write.
              this.history.note(row);
              await saveRowIn(tx, row);
              return;
            }
            this.history.add(row);
            this.#writing = this.#writing.then(() => committed);
            answer(row);
            await hasAsked();
            await saveIn(tx, this.#ended === undefined ? undefined : this.#outcome());
          },
        },
        step,
      );
    } catch (error) {
      if (!(error instanceof Superseded || error instanceof StepFailed)) throw error;
      return this.#over(error);
    }
  }

  /** What would come after a write that failed must not happen, the next write included. */
  #over(error: Error): Promise<never> {
    this.#quiet.reject(error);
    return new Promise<never>(() => undefined);
  }

  /** Runs the code until nothing can go on. Rejects when what it did could not be recorded. */
  async run(body: () => Promise<unknown>): Promise<Outcome> {
    void body().then(
      (value) => this.#end({ kind: 'done', value }),
      (error: unknown) =>
        this.#end(
          error instanceof SagaFailure
            ? { kind: 'failed', error: error.error, data: error.data }
            : { kind: 'stuck', trouble: troubleOf(error) },
        ),
    );
    this.#look();
    await this.#quiet.promise;
    return this.#outcome();
  }

  #end(outcome: Outcome): void {
    this.#ended = outcome;
    this.#look();
  }

  /** Looks, once the code has had its turn, whether anything goes on. */
  #look(): void {
    this.#events += 1;
    this.#stalled?.abort();
    const events = this.#events;
    setImmediate(() => {
      if (events !== this.#events || this.#busy > 0) return;
      if (this.#ended !== undefined || this.#waiting > 0) this.#quiet.resolve();
      else void this.#watchStall(events);
    });
  }

  /** The code waits for something that is not a step: nobody would ever know, and the worker would be held. */
  async #watchStall(events: number): Promise<void> {
    const { clock, stallMs, where } = this.#options;
    this.#stalled = new AbortController();
    await clock.sleep(stallMs, this.#stalled.signal);
    if (events !== this.#events || this.#ended !== undefined) return;
    this.strand(
      new PlimsollError(
        'PL_SAGA_DIVERGED',
        `${where} has awaited something that is not a step for ${stallMs} ms; await only what \`run\` gives, and do the rest in a command`,
      ),
    );
  }

  #outcome(): Outcome {
    if (this.#trouble !== undefined) return { kind: 'stuck', trouble: this.#trouble };
    try {
      this.history.assertAllVisited();
    } catch (error) {
      return { kind: 'stuck', trouble: troubleOf(error) };
    }
    if (this.#ended?.kind === 'stuck') return this.#ended;
    const { ending } = this.#options;
    // An outcome that is not known is settled before the saga ends, whichever way.
    if ((ending || this.#ended !== undefined) && this.#retryMs !== undefined)
      return { kind: 'waits', wakeMs: this.#retryMs };
    if (ending) return { kind: 'ending' };
    if (this.#ended !== undefined) return this.#ended;
    const wakeMs = Math.min(this.#wakeMs ?? Infinity, this.#retryMs ?? Infinity);
    return { kind: 'waits', wakeMs: wakeMs === Infinity ? undefined : wakeMs };
  }
}
