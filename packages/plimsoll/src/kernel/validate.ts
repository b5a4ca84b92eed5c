import type { StandardSchemaV1 } from '@standard-schema/spec';
import { PlimsollError, type ErrorCode } from './errors.ts';

export type MaybePromise<T> = T | Promise<T>;

/**
 * Validates; a promise only when the schema gives one, because waiting for what is there would cost every call.
 * `what` names the value in the message: `input of orders.place`.
 */
export function validate<S extends StandardSchemaV1>(
  schema: S,
  value: unknown,
  code: ErrorCode,
  what: string,
): MaybePromise<StandardSchemaV1.InferOutput<S>> {
  const result = schema['~standard'].validate(value);
  if (result instanceof Promise) return result.then((later) => unwrap<S>(later, code, what));
  return unwrap<S>(result, code, what);
}

/** Validates at once; a schema that needs a promise is PL_SCHEMA_ASYNC. */
export function validateNow<S extends StandardSchemaV1>(
  schema: S,
  value: unknown,
  code: ErrorCode,
  what: string,
): StandardSchemaV1.InferOutput<S> {
  const result = schema['~standard'].validate(value);
  if (result instanceof Promise) {
    throw new PlimsollError(
      'PL_SCHEMA_ASYNC',
      `${what}: its schema validates asynchronously; events, jobs and declared errors need a synchronous one`,
    );
  }
  return unwrap<S>(result, code, what);
}

function unwrap<S extends StandardSchemaV1>(
  result: StandardSchemaV1.Result<unknown>,
  code: ErrorCode,
  what: string,
): StandardSchemaV1.InferOutput<S> {
  if (result.issues === undefined) return result.value as StandardSchemaV1.InferOutput<S>;
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
