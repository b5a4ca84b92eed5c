import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Caller } from '../kernel/context.ts';
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
} from './contract.ts';

/** A declared failure on its way out of a handler; made by `fail`, returned, never thrown. */
export class Fail<Name extends string = string> {
  readonly error: Name;
  readonly data: unknown;
  constructor(error: Name, data: unknown) {
    this.error = error;
    this.data = data;
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
  /** `return fail('Name', data)`: a declared failure; rolls the transaction back. */
  readonly fail: <K extends keyof E & string>(error: K, data: Input<E[K]>) => Fail<K>;
}

export interface EnqueueOptions {
  /** Run not before this many milliseconds from now. Default 0. */
  readonly delayMs?: number;
}

/** The event as a subscription sees it. */
export interface Delivery {
  /** Unique in its database and the same for every subscription. */
  readonly eventId: string;
  /** Place in the log: dense, and never behind one that was already delivered. */
  readonly position: number;
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

type CommandHandlers<T, U extends string> = {
  readonly [K in keyof T as T[K] extends AnyCommand ? K : never]: T[K] extends Command<
    infer I,
    infer O,
    infer E,
    string
  >
    ? (
        input: Output<I>,
        context: CommandContext<U, NameOf<T>, E>,
      ) => Promise<Input<O> | Fail<keyof E & string>>
    : never;
};

type QueryHandlers<T, U extends string> = {
  readonly [K in keyof T as T[K] extends AnyQuery ? K : never]: T[K] extends Query<infer I, infer O, string>
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

export type ModuleDefinition<T extends AnyContract, U extends readonly AnyContract[]> = {
  readonly owns: {
    /** The Postgres schema whose tables only this module touches. */
    readonly schema: string;
    /** Directory of `001_name.sql`, … Default: the module has no tables. */
    readonly migrations?: URL;
  };
  /** Contracts this module may call, enqueue or subscribe to. Default: none but its own. */
  readonly uses?: U;
  readonly on?: (on: On<NameOf<U[number]>, NameOf<T>>) => readonly Subscription[];
} & Handlers<T, NameOf<U[number]>>;

type AnyHandler = (input: unknown, context: unknown) => Promise<unknown>;

/** A module as the runtime holds it. */
export interface Module {
  readonly name: string;
  readonly contract: AnyContract;
  readonly schema: string;
  readonly migrations: URL | undefined;
  readonly uses: ReadonlySet<string>;
  readonly commands: Readonly<Record<string, AnyHandler>>;
  readonly queries: Readonly<Record<string, AnyHandler>>;
  readonly subscriptions: readonly Subscription[];
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
  return {
    name: of.$name,
    contract: of,
    schema: definition.owns.schema,
    migrations: definition.owns.migrations,
    uses: new Set([of.$name, ...(definition.uses ?? []).map((used) => used.$name)]),
    commands: (definition.commands ?? {}) as Module['commands'],
    queries: (definition.queries ?? {}) as Module['queries'],
    subscriptions: definition.on?.(on) ?? [],
  };
}
