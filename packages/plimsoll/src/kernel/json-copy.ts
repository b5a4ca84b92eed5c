import { PlimsollError } from './errors.ts';

/** What happens to a value on its way from one module to another. */
export type Wire = (value: unknown, what: string) => unknown;

/** Within one process nothing need happen to it. */
export const asIs: Wire = (value) => value;

/**
 * The value as another process would receive it: a copy through JSON. What has a JSON form of its own
 * (`toJSON`: a Date, a URL) arrives in that form; what JSON would drop or change in silence is
 * PL_PAYLOAD_INVALID. The given value is not touched. `undefined` stays what it is: the absence of a value.
 */
export function jsonCopy(value: unknown, what: string): unknown {
  if (value === undefined) return undefined;
  assertJson(value, '', what, new Set());
  return JSON.parse(JSON.stringify(value)) as unknown;
}

function assertJson(given: unknown, path: string, what: string, above: Set<object>): void {
  const value = jsonForm(given, path);
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (typeof value !== 'object') throw lost(what, path, describe(value));
  if (above.has(value)) throw lost(what, path, 'an object that contains itself');
  above.add(value);
  if (Array.isArray(value)) {
    // By index, so that a hole is seen as the undefined that it is.
    for (let index = 0; index < value.length; index += 1)
      assertJson(value[index], join(path, String(index)), what, above);
  } else {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== null && !isObjectPrototype(prototype)) throw lost(what, path, describe(value));
    for (const [key, member] of Object.entries(value)) {
      // JSON leaves the key out, which reads the same.
      if (member !== undefined) assertJson(member, join(path, key), what, above);
    }
  }
  above.delete(value);
}

/** What `JSON.stringify` would put in the value's place. */
function jsonForm(value: unknown, path: string): unknown {
  if (typeof value !== 'object' || value === null || !('toJSON' in value)) return value;
  const { toJSON } = value;
  if (typeof toJSON !== 'function') return value;
  return toJSON.call(value, path.slice(path.lastIndexOf('.') + 1)) as unknown;
}

/** That of any realm: a value may come from a vm context. */
function isObjectPrototype(prototype: unknown): boolean {
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, 'hasOwnProperty');
}

function describe(value: unknown): string {
  if (typeof value === 'number' || value === undefined) return String(value);
  if (typeof value !== 'object' || value === null) return `a ${typeof value}`;
  const { constructor } = value as { readonly constructor?: { readonly name?: unknown } };
  return `an instance of ${typeof constructor?.name === 'string' ? constructor.name : 'a class'}`;
}

function lost(what: string, path: string, found: string): PlimsollError {
  return new PlimsollError(
    'PL_PAYLOAD_INVALID',
    `${what} is not JSON: ${path === '' ? 'it' : path} is ${found}, which would not arrive in another process; give plain objects, arrays, strings, finite numbers, booleans and null`,
    { data: { path, found } },
  );
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}
