import { PlimsollError } from '../kernel/errors.ts';
import type { AnyOperation, Schema } from './contract.ts';
import type { Wire } from '../kernel/json-copy.ts';
import type { Module } from './module.ts';
import { validate, type MaybePromise } from '../kernel/validate.ts';

export function validInput(operation: AnyOperation, input: unknown, wire: Wire): MaybePromise<unknown> {
  const what = `input of ${operation.id}`;
  return validate(operation.input as Schema, wire(input, what), 'PL_INPUT_INVALID', what);
}

/** What the handler gave goes over the wire, and is transformed where it arrives. */
export function validOutput(operation: AnyOperation, result: unknown, wire: Wire): MaybePromise<unknown> {
  const what = `output of ${operation.id}`;
  return validate(operation.output as Schema, wire(result, what), 'PL_OUTPUT_INVALID', what);
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
