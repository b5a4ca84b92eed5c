import { PlimsollError } from '../kernel/errors.ts';
import { jsonCopy } from '../kernel/json-copy.ts';

/**
 * A result as it is recorded. What would be read as something else the next time (a Date becomes text) is
 * PL_PAYLOAD_INVALID: the code must see the same in each run.
 */
export function recordable(value: unknown, what: string): unknown {
  assertSame(value, '', what);
  return jsonCopy(value, what);
}

function assertSame(value: unknown, path: string, what: string): void {
  if (typeof value !== 'object' || value === null) return;
  if ('toJSON' in value && typeof value.toJSON === 'function') {
    const { name } = value.constructor;
    throw new PlimsollError(
      'PL_PAYLOAD_INVALID',
      `${what}: ${path === '' ? 'it' : path} is an instance of ${name}, which would come back as text when the saga goes on; give the output of the command a form that JSON keeps`,
      { data: { path, found: name } },
    );
  }
  for (const [key, member] of Object.entries(value))
    assertSame(member, path === '' ? key : `${path}.${key}`, what);
}
