import type { StandardSchemaV1 } from '@standard-schema/spec';

export type Schema = StandardSchemaV1;
export type InputOf<S> = S extends Schema ? StandardSchemaV1.InferInput<S> : never;
export type OutputOf<S> = S extends Schema ? StandardSchemaV1.InferOutput<S> : never;

/** What of a contract is needed to name it. */
export interface ContractName<C extends string = string> {
  readonly $name: C;
}
export type NameIn<U> = U extends readonly ContractName<infer C>[] ? C : never;

// Variance of the schemas differs by position, so "any command" cannot be written with `Schema` alone.
// oxlint-disable-next-line typescript/no-explicit-any
type Loose = any;

/** What of a command of a contract is needed to call it as a step. */
export interface StepCommand<C extends string = string> {
  readonly kind: 'command';
  readonly id: string;
  readonly contract: C;
  readonly input: Loose;
  readonly output: Loose;
  readonly errors: Loose;
}

/** What of an event of a contract is needed to wait for it. */
export interface AwaitedEvent<C extends string = string> {
  readonly kind: 'event';
  readonly id: string;
  readonly contract: C;
  readonly payload: Loose;
}

/** What an event is recorded as when it arrives. */
export interface ArrivedEvent {
  readonly id: string;
  readonly position: number;
  readonly type: string;
  readonly version: number;
  readonly key: string | null;
  readonly payload: unknown;
}

/** The value of a command that went well. */
export type StepValue<Op extends StepCommand> = OutputOf<NonNullable<Op['output']>>;

type Failed<E> = {
  readonly [K in keyof E & string]: { readonly ok: false; readonly error: K; readonly data: OutputOf<E[K]> };
}[keyof E & string];

/** What a step resolves to: the output itself, or a union when the command declares errors. */
export type StepResult<Op extends StepCommand> = [keyof Op['errors']] extends [never]
  ? StepValue<Op>
  : { readonly ok: true; readonly value: StepValue<Op> } | Failed<Op['errors']>;

/** A failure that the command declares, told apart from its value. */
export type Settled =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: string; readonly data: unknown };

const declaresErrors = (command: StepCommand): boolean => Object.keys(command.errors as object).length > 0;

/** What a call that gave this value resolves to. */
export function resultOf(command: StepCommand, value: unknown): unknown {
  return declaresErrors(command) ? { ok: true, value } : value;
}

/** Splits what a call resolved to: only commands that declare errors wrap their value. */
export function settledOf(command: StepCommand, result: unknown): Settled {
  return declaresErrors(command) ? (result as Settled) : { ok: true, value: result };
}
