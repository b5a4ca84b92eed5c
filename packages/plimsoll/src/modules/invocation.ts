import { PlimsollError } from '../kernel/errors.ts';
import { asIs, type Wire } from '../kernel/json-copy.ts';
import { validate, validateNow, type MaybePromise } from '../kernel/validate.ts';
import type { CommandAnswer } from './command-record.ts';
import type { AnyCommand, AnyOperation, ErrorSchemas, Schema } from './contract.ts';
import type { Module } from './module.ts';

export function validInput(operation: AnyOperation, input: unknown, wire: Wire): MaybePromise<unknown> {
  const what = `input of ${operation.id}`;
  return validate(operation.input as Schema, wire(input, what), 'PL_INPUT_INVALID', what);
}

/** What the handler gave goes over the wire, and is transformed where it arrives. */
export function validOutput(operation: AnyOperation, result: unknown, wire: Wire): MaybePromise<unknown> {
  const what = `output of ${operation.id}`;
  return validate(operation.output as Schema, wire(result, what), 'PL_OUTPUT_INVALID', what);
}

/** What a caller gets of a command that has done its work. */
export function succeeded({ errors }: AnyCommand, value: unknown): unknown {
  return Object.keys(errors as ErrorSchemas).length > 0 ? { ok: true, value } : value;
}

/** What a caller gets of an answer that was recorded. */
export async function resultOf(operation: AnyCommand, answer: CommandAnswer): Promise<unknown> {
  if (!('error' in answer)) {
    const { value } = answer;
    return succeeded(
      operation,
      operation.output === undefined ? undefined : await validOutput(operation, value, asIs),
    );
  }
  const { error, data } = answer;
  // An error that the contract no longer declares comes as it was recorded.
  const schema = (operation.errors as ErrorSchemas)[error];
  const what = `data of error ${error} of ${operation.id}`;
  return {
    ok: false,
    error,
    data: schema === undefined ? data : validateNow(schema, data, 'PL_PAYLOAD_INVALID', what),
  };
}

export function memberName(operation: AnyOperation): string {
  return operation.id.slice(operation.contract.length + 1);
}

export function invoke(
  handler: Module['commands'][string] | undefined,
  id: string,
  input: unknown,
  context: unknown,
): Promise<unknown> {
  if (handler === undefined) throw new PlimsollError('PL_UNKNOWN_OPERATION', `${id} has no handler`);
  return handler(input, context);
}

export function isFailure(
  result: unknown,
): result is { readonly ok: false; readonly error: string; readonly data: unknown } {
  return (
    typeof result === 'object' &&
    result !== null &&
    'ok' in result &&
    result.ok === false &&
    'error' in result
  );
}
