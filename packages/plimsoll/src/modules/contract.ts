import type { StandardSchemaV1 } from '@standard-schema/spec';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import { limitProblems, type QueueLimits } from '../durable/limits.ts';
import { jobProblems, type JobOptions } from '../jobs/job.ts';
import { versionProblems, type Upcasters } from '../outbox/event-versions.ts';

export type Schema = StandardSchemaV1;
export type Input<S extends Schema> = StandardSchemaV1.InferInput<S>;
export type Output<S extends Schema> = StandardSchemaV1.InferOutput<S>;
export type ErrorSchemas = Readonly<Record<string, Schema>>;
/** A schema of nothing, for commands without output. */
export type VoidSchema = StandardSchemaV1<void, void>;

/** What holds for all jobs of a command. */
export type CommandJobOptions = Pick<
  JobOptions,
  'maxAttempts' | 'priority' | 'timeoutMs' | 'keepResult' | 'onPark'
>;

interface Member<Kind extends string, Contract extends string> {
  readonly kind: Kind;
  /** The contract it belongs to. */
  readonly contract: Contract;
  /** `orders.place`: contract and member name. */
  readonly id: string;
}

/** Write intent: one module, one transaction. */
export interface Command<
  I extends Schema = Schema,
  O extends Schema = Schema,
  E extends ErrorSchemas = ErrorSchemas,
  C extends string = string,
> extends Member<'command', C> {
  readonly input: I;
  readonly output: O | undefined;
  readonly errors: E;
  readonly timeoutMs: number | undefined;
  readonly job: CommandJobOptions;
  /** What holds for all its jobs together. */
  readonly jobLimits: QueueLimits | undefined;
  readonly personal: PersonalData<I> | undefined;
}

/** What changes the answers of a query: the tags that commands invalidate. At least one for each input. */
export type TagsOf<I extends Schema> = (input: Output<I>) => readonly [string, ...string[]];

/** Read intent: read-only, may go to a replica, may be cached, may be retried. */
export interface Query<
  I extends Schema = Schema,
  O extends Schema = Schema,
  C extends string = string,
  T extends TagsOf<I> | undefined = TagsOf<I> | undefined,
> extends Member<'query', C> {
  readonly input: I;
  readonly output: O;
  readonly timeoutMs: number | undefined;
  /** Whether it is cached says the plan. */
  readonly tags: T;
}

/** A fact, written to the outbox in the command's transaction. */
export interface Event<P extends Schema = Schema, C extends string = string> extends Member<'event', C> {
  readonly payload: P;
  readonly version: number;
  /** By the version they read; each gives the next one. */
  readonly upcast: Upcasters;
  readonly key: ((payload: Output<P>) => string) | undefined;
  readonly personal: PersonalData<P> | undefined;
}

/** What of a payload, or an input, is the data of a person, and what is left of it when that person's data is erased. */
export interface PersonalData<P extends Schema> {
  /** Whose data it is: `(payload) => payload.customerId`. Undefined: nobody's, in this event. */
  readonly subject: (payload: Output<P>) => string | undefined;
  /**
   * The payload without it: `(payload) => ({ ...payload, email: 'erased@example.invalid' })`. It must match the schema
   * as any payload does, so that subscribers, upcasts and views of later go on as before; `delivery.erased` tells.
   */
  readonly erase: (payload: Input<P>) => Input<P>;
}

// Variance of the schemas differs by position, so "any command" cannot be written with `Schema` alone.
// oxlint-disable-next-line typescript/no-explicit-any
type Loose = any;
export type AnyCommand<C extends string = string> = Command<Loose, Loose, Loose, C>;
export type AnyQuery<C extends string = string> = Query<Loose, Loose, C, Loose>;
export type AnyEvent<C extends string = string> = Event<Loose, C>;
export type AnyOperation<C extends string = string> = AnyCommand<C> | AnyQuery<C>;

/** What {@link contract} binds: a member as its declaration gives it, before it knows its contract. */
type Unbound<M> = Omit<M, 'contract' | 'id'>;

export interface CommandSpec<I extends Schema, O extends Schema, E extends ErrorSchemas> {
  readonly input: I;
  /** Default: nothing. */
  readonly output?: O;
  /** Failures the caller is expected to handle, by name; they come back as values and roll the transaction back. */
  readonly errors?: E;
  /** Deadline of one call, milliseconds. Default: the caller's, or the app's `timeoutMs`. */
  readonly timeoutMs?: number;
  /** How it is run when it is called later, where `enqueue` does not say. */
  readonly job?: CommandJobOptions;
  /**
   * What holds for all its jobs together, in all processes: recorded when an app starts. Taking it away does not lift
   * it, see `createJobs().limit`. Default: no limits.
   */
  readonly jobLimits?: QueueLimits;
  /**
   * Whose personal data its input and its answer hold, and what is left of the input, for {@link eraseSubject}: jobs
   * that have not ended go on with that, and recorded answers go. Default: nobody's.
   */
  readonly personal?: PersonalData<I>;
}

export function command<
  I extends Schema,
  O extends Schema = VoidSchema,
  E extends ErrorSchemas = Readonly<Record<never, never>>,
>(spec: CommandSpec<I, O, E>): Unbound<Command<I, O, E, ''>> {
  return {
    kind: 'command',
    input: spec.input,
    output: spec.output,
    errors: spec.errors ?? ({} as E),
    timeoutMs: spec.timeoutMs,
    job: spec.job ?? {},
    jobLimits: spec.jobLimits,
    personal: spec.personal,
  };
}

export interface QuerySpec<I extends Schema, O extends Schema> {
  readonly input: I;
  readonly output: O;
  /** Deadline of one call, milliseconds. Default: the caller's, or the app's `timeoutMs`. */
  readonly timeoutMs?: number;
  /**
   * What changes the answer, for caches: `({ sku }) => [`stock:${sku}`]`. Commands that change it `invalidate` these.
   * Default: none, and a plan that caches it has to say.
   */
  readonly tags?: TagsOf<I>;
}

export function query<I extends Schema, O extends Schema>(
  spec: QuerySpec<I, O> & { readonly tags: TagsOf<I> },
): Unbound<Query<I, O, '', TagsOf<I>>>;
export function query<I extends Schema, O extends Schema>(
  spec: QuerySpec<I, O> & { readonly tags?: never },
): Unbound<Query<I, O, '', undefined>>;
export function query<I extends Schema, O extends Schema>(spec: QuerySpec<I, O>): Unbound<Query<I, O, ''>> {
  const { input, output, timeoutMs, tags } = spec;
  return { kind: 'query', input, output, timeoutMs, tags };
}

/** The version before each, at its index; beyond the table the last step is not checked by the compiler. */
type Previous = readonly [never, never, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

/** Steps from older versions: each gives what the next one reads, the last one what the payload's schema reads. */
export type UpcastSteps<P extends Schema, V extends number> = Upcasters &
  (`${V}` extends keyof Previous ? { readonly [K in Previous[V]]?: (old: unknown) => Input<P> } : unknown);

export interface EventSpec<P extends Schema, V extends number = number> {
  readonly payload: P;
  /** Raised when the payload's shape changes. Default 1. */
  readonly version?: V;
  /**
   * How to read events that older versions wrote: `upcast: { 1: (old) => new }`, without a gap up to this
   * version. An event older than the oldest step is not accepted. Default: only this version is.
   */
  readonly upcast?: UpcastSteps<P, V>;
  /** What the event is about, for order and audit. Default: none. */
  readonly key?: (payload: Output<P>) => string;
  /** What of it is the data of a person, for {@link eraseSubject}. Default: nothing. */
  readonly personal?: PersonalData<P>;
}

export function event<P extends Schema, const V extends number = 1>(
  spec: EventSpec<P, V>,
): Unbound<Event<P, ''>> {
  return {
    kind: 'event',
    payload: spec.payload,
    version: spec.version ?? 1,
    upcast: (spec.upcast ?? {}) as Upcasters,
    key: spec.key,
    personal: spec.personal,
  };
}

type Bound<C extends string, M> =
  M extends Unbound<Command<infer I, infer O, infer E, ''>>
    ? Command<I, O, E, C>
    : M extends Unbound<Query<infer I, infer O, '', infer T>>
      ? Query<I, O, C, T>
      : M extends Unbound<Event<infer P, ''>>
        ? Event<P, C>
        : never;

/** What `command`, `query` and `event` return. */
type Declared = { readonly kind: 'command' | 'query' | 'event' };

/** A named set of commands, queries and events: the only thing another module may import. */
export type Contract<C extends string = string, M = unknown> = { readonly $name: C } & {
  readonly [K in keyof M]: Bound<C, M[K]>;
};

export type AnyContract = { readonly $name: string };
export type NameOf<T> = T extends { readonly $name: infer N extends string } ? N : never;

const identifier = /^[a-z][a-zA-Z0-9]*$/;

/** Binds the members to the name. PL_CONFIG for names that cannot be used in `contract.member`. */
export function contract<const C extends string, const M extends Readonly<Record<string, Declared>>>(
  name: C,
  members: M,
): Contract<C, M> {
  const problems: Problem[] = [];
  if (!identifier.test(name))
    problems.push({ path: 'name', message: `${JSON.stringify(name)} must be camelCase letters and digits` });
  for (const [key, member] of Object.entries(members)) {
    if (!identifier.test(key))
      problems.push({ path: key, message: 'a member must be camelCase letters and digits' });
    if (member.kind === 'command' && 'job' in member) {
      const { job, jobLimits = {} } = member as unknown as AnyCommand;
      problems.push(
        ...jobProblems(job).map(({ path, message }) => ({ path: `${key}.job.${path}`, message })),
        ...limitProblems(jobLimits).map(({ path, message }) => ({
          path: `${key}.jobLimits.${path}`,
          message,
        })),
      );
    }
    if (member.kind === 'event' && 'version' in member) {
      const { version, upcast } = member as unknown as AnyEvent;
      problems.push(...versionProblems(key, version, upcast));
    }
  }
  throwIfProblems(`contract ${JSON.stringify(name)}`, problems);
  const bound = Object.entries(members).map(([key, member]) => [
    key,
    Object.freeze({ ...member, contract: name, id: `${name}.${key}` }),
  ]);
  return Object.freeze({ $name: name, ...Object.fromEntries(bound) }) as Contract<C, M>;
}

/** Commands, queries and events of a contract. */
export function membersOf(of: AnyContract): readonly (AnyOperation | AnyEvent)[] {
  return Object.values(of as Readonly<Record<string, unknown>>).filter(
    (member): member is AnyOperation | AnyEvent =>
      typeof member === 'object' && member !== null && 'kind' in member,
  );
}

/** What a failed command gives its caller. */
export type Failure<E extends ErrorSchemas> = {
  readonly [K in keyof E & string]: { readonly ok: false; readonly error: K; readonly data: Output<E[K]> };
}[keyof E & string];

/** What `call` resolves to: the output itself, or a union when the command declares errors. */
export type Result<Op> =
  Op extends Command<Loose, infer O, infer E, Loose>
    ? [keyof E] extends [never]
      ? Output<O>
      : { readonly ok: true; readonly value: Output<O> } | Failure<E>
    : Op extends Query<Loose, infer O, Loose, Loose>
      ? Output<O>
      : never;
