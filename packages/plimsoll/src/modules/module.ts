import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import type { AnySaga, Saga } from '../saga/saga.ts';
import type { Caller } from '../kernel/context.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import type { StartFrom } from '../outbox/subscriptions.ts';
import type {
  AnyCommand,
  AnyContract,
  AnyEvent,
  AnyOperation,
  AnyQuery,
  Command,
  ErrorSchemas,
  Input,
  NameOf,
  Output,
  Query,
  Result,
  Schema,
} from './contract.ts';
import type { TaskOutcome } from '../durable/outcome.ts';
import type { JobOptions } from '../jobs/job.ts';
import type { Schedule } from '../jobs/schedule.ts';
import { validateNow } from '../kernel/validate.ts';
import { ownsProblems, schemaOf, tableOwnership, type Owns } from './ownership.ts';
import { isOfView, viewName, type PlacedView } from '../views/place.ts';
import type { View } from '../views/view.ts';

/** A declared failure on its way out of a handler; made by `fail`, returned, never thrown. */
export class Fail<Name extends string = string> {
  readonly error: Name;
  /** As its schema makes it. */
  readonly data: unknown;
  /** As it was given, to be recorded. */
  readonly given: unknown;
  constructor(error: Name, data: unknown, given: unknown) {
    this.error = error;
    this.data = data;
    this.given = given;
  }
}

/** What every handler gets. `Uses` are the names of the contracts it may touch. */
export interface HandlerContext<Uses extends string, Self extends string> {
  /** Calls another operation. Never inside this handler's transaction; refused while that is open. */
  readonly call: <Op extends AnyOperation<Uses | Self>>(
    operation: Op,
    input: Input<Op['input']>,
  ) => Promise<Result<Op>>;
  readonly correlationId: string;
  /** Stable across retries of this work: derive the idempotency key of an outside effect from it, or from your own ids. */
  readonly key: string;
  readonly caller: Caller;
  /** Aborts at the deadline or when the caller goes away. Created when first read. */
  readonly signal: AbortSignal;
}

export interface QueryContext<Uses extends string, Self extends string> {
  readonly call: <Op extends AnyQuery<Uses | Self>>(
    operation: Op,
    input: Input<Op['input']>,
  ) => Promise<Result<Op>>;
  /** Read-only; a replica where there is one. */
  readonly db: Queryable;
  readonly correlationId: string;
  readonly caller: Caller;
  readonly signal: AbortSignal;
}

export interface CommandContext<
  Uses extends string,
  Self extends string,
  E extends ErrorSchemas,
> extends HandlerContext<Uses, Self> {
  /** The command's one transaction; begins with its first statement. */
  readonly tx: Transaction;
  /** Buffers an event of this module's contract; written just before COMMIT. */
  readonly emit: <Ev extends AnyEvent<Self>>(event: Ev, payload: Input<Ev['payload']>) => void;
  /** Buffers a command to be run later; written just before COMMIT. Returns the job's id. */
  readonly enqueue: <Op extends AnyCommand<Uses | Self>>(
    operation: Op,
    input: Input<Op['input']>,
    options?: EnqueueOptions,
  ) => string;
  /**
   * Buffers the start of a saga of this module; written just before COMMIT. An id given twice is one saga, and the
   * first input holds; without one each is its own. Returns the whole id: `orders.checkout/42`.
   */
  readonly start: <I extends Schema>(saga: Saga<I>, input: Input<I>, options?: StartOptions) => string;
  /**
   * What this changes for caches: `invalidate('stock:7')`. Written just before COMMIT, so that it exists exactly when
   * the commit does; done right after it, with its position, and by a relay when this process dies in between.
   */
  readonly invalidate: (...tags: readonly string[]) => void;
  /**
   * An effect outside the database: `await external('bank', orderId, (signal, key) => charge(key, signal))`.
   * Call it before the first statement. Once its result has been committed it is never run again for this
   * operation, name and key: the recorded result is returned. Until then it may be repeated, always with the
   * same key, which the outside must take for the same effect. The result must be JSON.
   * PL_EXTERNAL_BUSY while somebody else is at it.
   */
  readonly external: <T>(
    name: string,
    key: string,
    effect: (signal: AbortSignal, key: string) => Promise<T>,
  ) => Promise<T>;
  /** Set when the command runs as a job; undefined when somebody waits for its answer. */
  readonly job: CalledLater | undefined;
  /** `return fail('Name', data)`: a declared failure; rolls the transaction back. */
  readonly fail: <K extends keyof E & string>(error: K, data: Input<E[K]>) => Fail<K>;
}

export interface StartOptions {
  /** At most 200 characters. Default: a new one. */
  readonly id?: string;
}

export type EnqueueOptions = JobOptions;

/**
 * A command that runs as a job may return one of these instead of a result, which rolls back what it wrote:
 * `return job?.snooze(60_000) ?? fail('NotYet', {})`.
 */
export interface CalledLater {
  /** 1 for the first try. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /** Tells how far it is, at once and outside of the transaction; `jobStatus` shows the last one. JSON. */
  readonly progress: (progress: unknown) => Promise<void>;
  /** A failed try: again after `delayMs`, by default after the backoff; parked after the last one. */
  readonly retry: (options: { readonly delayMs?: number; readonly reason: string }) => TaskOutcome;
  /** Not now, but in so many milliseconds; does not count as a try. */
  readonly snooze: (delayMs: number) => TaskOutcome;
  /** Ends the job for good, without effect. */
  readonly cancel: (reason: string) => TaskOutcome;
}

/** The event as a subscription sees it. */
export interface Delivery {
  /** Unique in its database and the same for every subscription. */
  readonly eventId: string;
  /** Place in the log: dense, and given in the order of commits. */
  readonly position: number;
  /** The replay that brings the event again; undefined when it is delivered as it happened. */
  readonly replay: number | undefined;
  /** Whether the personal data was taken out of the payload. */
  readonly erased: boolean;
  /** 1 for the first try. */
  readonly attempt: number;
}

export type SubscriptionContext<Uses extends string, Self extends string> = CommandContext<
  Uses,
  Self,
  Readonly<Record<never, never>>
> & {
  readonly delivery: Delivery;
};

export type CommandHandlers<T, U extends string> = {
  readonly [K in keyof T as T[K] extends AnyCommand ? K : never]: T[K] extends Command<
    infer I,
    infer O,
    infer E,
    string
  >
    ? (
        input: Output<I>,
        context: CommandContext<U, NameOf<T>, E>,
      ) => Promise<Input<O> | Fail<keyof E & string> | TaskOutcome>
    : never;
};

export type QueryHandlers<T, U extends string> = {
  readonly [K in keyof T as T[K] extends AnyQuery ? K : never]: T[K] extends Query<
    infer I,
    infer O,
    string,
    infer _T
  >
    ? (input: Output<I>, context: QueryContext<U, NameOf<T>>) => Promise<Input<O>>
    : never;
};

/** `commands` and `queries` may be left out only where the contract has none. */
type Handlers<T, U extends string> = (keyof CommandHandlers<T, U> extends never
  ? { readonly commands?: never }
  : { readonly commands: CommandHandlers<T, U> }) &
  (keyof QueryHandlers<T, U> extends never
    ? { readonly queries?: never }
    : { readonly queries: QueryHandlers<T, U> });

export interface SubscriptionOptions {
  /** Unique in the module; part of the delivery's identity, so never reuse a name for something else. */
  readonly name: string;
  /** Tries before the delivery is parked. Default 20. */
  readonly maxAttempts?: number;
  /**
   * `key`: deliveries of one event key run one at a time, in the order of the log; those of different keys at once.
   * The event must have a key. Default: none waits for another.
   */
  readonly ordered?: 'key';
  /**
   * With `ordered`: whether a delivery that is parked holds back the later ones of its key until somebody has decided
   * about it, or is passed over. Default `block`.
   */
  readonly onPark?: 'block' | 'skip';
  /**
   * Where a subscription begins that the database has not seen before. Default `now`: with the first event after its
   * recording. Everything else is read from the log, as far back as that is kept.
   */
  readonly from?: StartFrom;
}

/** One reaction to one event. */
export interface Subscription {
  readonly event: AnyEvent;
  readonly options: SubscriptionOptions;
  readonly handler: (payload: unknown, context: SubscriptionContext<string, string>) => Promise<void>;
}

type On<U extends string, Self extends string> = <Ev extends AnyEvent<U | Self>>(
  event: Ev,
  options: SubscriptionOptions,
  handler: (payload: Output<Ev['payload']>, context: SubscriptionContext<U, Self>) => Promise<void>,
) => Subscription;

export interface ScheduleOptions extends Pick<Schedule, 'timezone' | 'catchUp'> {
  /** How its jobs are run, where the command does not say. */
  readonly job?: Schedule['options'];
}

/** `at('nightly', '0 3 * * *', reports.build, { kind: 'sales' }, { timezone: 'Europe/Zurich' })` */
type At<U extends string, Self extends string> = <Op extends AnyCommand<U | Self>>(
  name: string,
  cron: string,
  operation: Op,
  input: Input<Op['input']>,
  options?: ScheduleOptions,
) => Schedule;

export type ModuleDefinition<T extends AnyContract, U extends readonly AnyContract[]> = {
  readonly owns: Owns;
  /** Contracts this module may call, enqueue or subscribe to. Default: none but its own. */
  readonly uses?: U;
  readonly on?: (on: On<NameOf<U[number]>, NameOf<T>>) => readonly Subscription[];
  /** By name; they use no contract that this module does not. */
  readonly sagas?: Readonly<Record<string, AnySaga<NameOf<U[number]> | NameOf<T>>>>;
  /**
   * Read models built from events, in the schema of the module, or of its first table. Two versions of one name while
   * the new one is being built. Default none.
   */
  readonly views?: readonly View[];
  /**
   * The views that a query reads, by the query's name: it waits until they show what its caller has written. A query
   * reads no view that is not listed. Default none.
   */
  readonly reads?: { readonly [K in keyof QueryHandlers<T, NameOf<U[number]>>]?: readonly View[] };
  /** Jobs that are enqueued again and again. */
  readonly schedules?: (at: At<NameOf<U[number]>, NameOf<T>>) => readonly Schedule[];
} & Handlers<T, NameOf<U[number]>>;

type AnyHandler = (input: unknown, context: unknown) => Promise<unknown>;

/** A module as the runtime holds it. */
export interface Module {
  readonly name: string;
  readonly contract: AnyContract;
  /** The schema it owns; undefined when it owns a list of tables. */
  readonly schema: string | undefined;
  /** The tables it owns, as `schema.table`; empty when it owns a schema. */
  readonly tables: readonly string[];
  readonly migrations: URL | undefined;
  /** Whether only this module may touch the table, named as PostgreSQL stores it. */
  readonly ownsTable: (schema: string, table: string) => boolean;
  readonly uses: ReadonlySet<string>;
  readonly commands: Readonly<Record<string, AnyHandler>>;
  readonly queries: Readonly<Record<string, AnyHandler>>;
  readonly subscriptions: readonly Subscription[];
  readonly sagas: Readonly<Record<string, AnySaga>>;
  readonly views: readonly PlacedView[];
  /** Names of views, such as `orders.summary`, by the query that reads them. */
  readonly reads: Readonly<Record<string, readonly string[]>>;
  readonly schedules: readonly Schedule[];
}

/** Implements one contract. Handlers, their inputs and results are inferred from it. */
export function module<const T extends AnyContract, const U extends readonly AnyContract[] = readonly []>(
  of: T,
  definition: ModuleDefinition<T, U>,
): Module {
  const on: On<NameOf<U[number]>, NameOf<T>> = (subscribedEvent, options, handler) => ({
    event: subscribedEvent,
    options,
    handler: handler as Subscription['handler'],
  });
  const at: At<NameOf<U[number]>, NameOf<T>> = (name, cron, operation, input, options = {}) => {
    validateNow(operation.input, input, 'PL_PAYLOAD_INVALID', `input of the schedule ${of.$name}.${name}`);
    const { job, ...times } = options;
    return {
      ...times,
      name: `${of.$name}.${name}`,
      cron,
      job: operation.id,
      input,
      options: { ...operation.job, ...job },
    };
  };
  const { owns, views = [], reads = {} } = definition;
  throwIfProblems(`the module ${of.$name}`, ownsProblems(of.$name, owns));
  const schema = owns.schema ?? schemaOf(owns.tables[0] ?? '');
  const ownsListed = tableOwnership(owns);
  return {
    name: of.$name,
    contract: of,
    schema: owns.schema,
    tables: owns.tables ?? [],
    migrations: owns.migrations,
    ownsTable: (inSchema, table) =>
      ownsListed(inSchema, table) || (inSchema === schema && views.some(({ name }) => isOfView(name, table))),
    uses: new Set([of.$name, ...(definition.uses ?? []).map((used) => used.$name)]),
    commands: (definition.commands ?? {}) as Module['commands'],
    queries: (definition.queries ?? {}) as Module['queries'],
    subscriptions: definition.on?.(on) ?? [],
    sagas: definition.sagas ?? {},
    views: views.map((view) => ({ schema, view })),
    reads: Object.fromEntries(
      Object.entries<readonly View[] | undefined>(reads).map(([query, list = []]) => [
        query,
        list.map((view) => viewName({ schema, view })),
      ]),
    ),
    schedules: definition.schedules?.(at) ?? [],
  };
}
