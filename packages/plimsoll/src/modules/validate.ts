import type { StandardSchemaV1 } from '@standard-schema/spec';
import { PlimsollError, type ErrorCode } from '../kernel/errors.ts';
import type { Output, Schema } from './contract.ts';

/** Validates, also asynchronously. `what` names the value in the message: `input of orders.place`. */
export async function validate<S extends Schema>(
  schema: S,
  value: unknown,
  code: ErrorCode,
  what: string,
): Promise<Output<S>> {
  const result = schema['~standard'].validate(value);
  // The usual case is synchronous; awaiting it anyway would cost every call a turn of the microtask queue.
  return unwrap<S>(result instanceof Promise ? await result : result, code, what);
}

/** Validates at once; a schema that needs a promise is PL_SCHEMA_ASYNC. */
export function validateNow<S extends Schema>(
  schema: S,
  value: unknown,
  code: ErrorCode,
  what: string,
): Output<S> {
  const result = schema['~standard'].validate(value);
  if (result instanceof Promise) {
    throw new PlimsollError(
      'PL_SCHEMA_ASYNC',
      `${what}: its schema validates asynchronously; events, jobs and declared errors need a synchronous one`,
    );
  }
  return unwrap<S>(result, code, what);
}

function unwrap<S extends Schema>(
  result: StandardSchemaV1.Result<unknown>,
  code: ErrorCode,
  what: string,
): Output<S> {
  if (result.issues === undefined) return result.value as Output<S>;
  const issues = result.issues.slice(0, 20).map((issue) => ({ path: pathOf(issue), message: issue.message }));
  const list = issues
    .map((issue) => (issue.path === '' ? issue.message : `${issue.path}: ${issue.message}`))
    .join('; ');
  throw new PlimsollError(code, `${what} is not valid: ${list}`, { data: { issues } });
}

function pathOf(issue: StandardSchemaV1.Issue): string {
  return (issue.path ?? [])
    .map((segment) => String(typeof segment === 'object' ? segment.key : segment))
    .join('.');
}
