import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import type { BackoffOptions } from '../durable/backoff.ts';
import type {
  AwaitedEvent,
  ContractName,
  InputOf,
  NameIn,
  OutputOf,
  Schema,
  StepCommand,
  StepResult,
  StepValue,
} from './callable.ts';
import type { SagaFailure } from './failure.ts';

export interface StepOptions<Op extends StepCommand, Undo extends StepCommand> {
  /**
   * What undoes the step, from what it resulted in: `(reservation) => [inventory.release, { id: reservation.id }]`.
   * It is recorded with the result, so undoing needs none of this code. Default: there is nothing to undo.
   */
  readonly compensate?: (value: StepValue<Op>) => readonly [Undo, InputOf<Undo['input']>];
  /** Calls before the saga is stuck, for a step that throws. Default 20. */
  readonly maxAttempts?: number;
  /** Waits between those calls. Default from 1 s, doubling, up to 5 min. */
  readonly backoff?: BackoffOptions;
}

export const stepDefaults = { maxAttempts: 20 } as const;

/** What somebody decided, or that nobody did in time. */
export type Approval =
  | { readonly decision: 'approved' | 'rejected'; readonly who: string; readonly why: string }
  | { readonly decision: 'timedOut' };

/** How another saga ended: with its result, or compensated. */
export type ChildResult<R> =
  | { readonly ok: true; readonly value: R }
  | { readonly ok: false; readonly error: string; readonly data: unknown };

/**
 * The durable steps of one saga. Each has a place in the code, by the order in which it is asked for; what happened
 * there is recorded and answered again when the code is run again. Between them code must be deterministic: no
 * time, no random numbers, no reads or awaits but those of `run`.
 */
export interface Run<U extends string = string> {
  /** `orders.checkout/42`. */
  readonly id: string;
  /**
   * Calls a command in its own module's transaction, with a key that stays the same however often it is called.
   * Its declared errors come back as values. A throw is tried again, and in the end the saga is stuck.
   */
  step<Op extends StepCommand<U>, Undo extends StepCommand<U> = StepCommand<U>>(
    name: string,
    command: Op,
    input: InputOf<Op['input']>,
    options?: StepOptions<Op, Undo>,
  ): Promise<StepResult<Op>>;
  /** At least so many milliseconds. Holds no worker meanwhile. */
  sleep(name: string, ms: number): Promise<void>;
  /**
   * The first event of this key since the saga was started, or since the last one that was waited for here, also when
   * it came before the wait. Branches count each for themselves. `undefined` when none came within `timeoutMs`.
   */
  waitFor<Ev extends AwaitedEvent<U>>(
    name: string,
    event: Ev,
    options: { readonly key: string; readonly timeoutMs?: undefined },
  ): Promise<OutputOf<Ev['payload']>>;
  waitFor<Ev extends AwaitedEvent<U>>(
    name: string,
    event: Ev,
    options: { readonly key: string; readonly timeoutMs: number },
  ): Promise<OutputOf<Ev['payload']> | undefined>;
  /** What somebody decides: `approveSaga`, `rejectSaga`, or `plimsoll sagas approve`. Without `timeoutMs` for as long as it takes. */
  approval(name: string, options?: { readonly timeoutMs?: number }): Promise<Approval>;
  /** Starts another saga of the same module and waits for its end; events count for it since this one was started. When this one is compensated, so is that one. */
  child<I extends Schema, R>(name: string, saga: Saga<I, R>, input: InputOf<I>): Promise<ChildResult<R>>;
  /**
   * Branches side by side, each with places of its own: `run.all({ stock: (run) => …, card: (run) => … })`. Rejects
   * with the first branch that does; what the others have under way is settled before anything is compensated.
   */
  all<B extends Readonly<Record<string, (run: Run<U>) => Promise<unknown>>>>(
    branches: B,
  ): Promise<{ readonly [K in keyof B]: Awaited<ReturnType<B[K]>> }>;
  /** Milliseconds since the epoch, as they were the first time. */
  now(): number;
  /** From 0 up to 1, as it was the first time. */
  random(): number;
  /** `throw run.fail('OutOfStock', { sku })`: undoes all steps that are done, newest first. */
  fail(error: string, data?: unknown): SagaFailure;
}

export interface SagaSpec<I extends Schema, U extends readonly ContractName[]> {
  /** Raised when the steps change: sagas that are under way stay with the code of their version. Default 1. */
  readonly version?: number;
  /** JSON; transforms run whenever the code is run. */
  readonly input: I;
  /** Contracts whose commands it calls and whose events it waits for. */
  readonly uses: U;
  /** Older versions, for what is under way. Default none: such a saga waits for a worker that has its code. */
  readonly previous?: readonly AnySaga<NameIn<U>>[];
  /**
   * Whose personal data it holds. `eraseSubject` takes out of one that has ended what it and its steps were given and
   * what came of it; what it did stays. Default: nobody's.
   */
  readonly personal?: { readonly subject: (input: OutputOf<I>) => string | undefined };
}

/** The parts of a saga that do not depend on its types. */
export interface AnySaga<U extends string = string> {
  readonly kind: 'saga';
  readonly version: number;
  readonly input: Schema;
  readonly uses: readonly U[];
  /** Itself and the older ones, by version. */
  readonly versions: ReadonlyMap<number, AnySaga>;
  /** Whose personal data it holds. */
  readonly subjectOf: ((input: unknown) => string | undefined) | undefined;
  readonly body: (run: Run, input: unknown) => Promise<unknown>;
}

export interface Saga<I extends Schema = Schema, R = unknown, U extends string = string> extends AnySaga<U> {
  readonly input: I;
  readonly body: (run: Run, input: unknown) => Promise<R>;
}

/**
 * Declares a saga: a function of durable steps. List it in the `sagas` of its module. It resolves to what the saga
 * resulted in, as JSON. PL_CONFIG for a version that is not a whole number from 1, or taken by an older one.
 */
export function saga<const I extends Schema, const U extends readonly ContractName[], R>(
  spec: SagaSpec<I, U>,
  body: (run: Run<NameIn<U>>, input: OutputOf<I>) => Promise<R>,
): Saga<I, R, NameIn<U>> {
  const { version = 1, input, uses, previous = [], personal } = spec;
  const versions = new Map<number, AnySaga>();
  const declared: Saga<I, R, NameIn<U>> = {
    kind: 'saga',
    version,
    input,
    uses: uses.map(({ $name }) => $name as NameIn<U>),
    versions,
    subjectOf: personal?.subject as AnySaga['subjectOf'],
    body: body as Saga<I, R>['body'],
  };
  const problems: Problem[] = [];
  if (!Number.isInteger(version) || version < 1)
    problems.push({ path: 'version', message: `${version} must be a whole number from 1` });
  for (const older of [...previous, declared]) {
    if (versions.has(older.version))
      problems.push({
        path: 'previous',
        message: `version ${older.version} is there twice; give each its own`,
      });
    if (older.version > version)
      problems.push({
        path: 'previous',
        message: `version ${older.version} is not older than version ${version}`,
      });
    versions.set(older.version, older);
  }
  throwIfProblems('a saga', problems);
  return Object.freeze(declared);
}
