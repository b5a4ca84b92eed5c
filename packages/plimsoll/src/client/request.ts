import { PlimsollError } from '../kernel/errors.ts';
import type { AnyOperation } from '../modules/contract.ts';

/** What the client needs of a route; those of `plimsoll/gateway` have it. */
export interface ClientRoute<Op extends AnyOperation = AnyOperation> {
  readonly path: string;
  readonly operation: Op;
  readonly enqueue?: boolean;
}

export interface OutgoingRequest {
  readonly method: 'GET' | 'POST';
  /** With its query string. */
  readonly path: string;
  readonly body?: string;
}

/** `:name`, with what follows it in Fastify's patterns. */
const parameter = /:(\w+)(?:\((?:[^()\\]|\\.|\([^()]*\))*\))?(\?)?/g;

/** The request of an operation: path parameters out of the input, the rest as query string or JSON body. */
export function requestOf({ path, operation }: ClientRoute, input: unknown): OutgoingRequest {
  const isObject = typeof input === 'object' && input !== null && !Array.isArray(input);
  const rest: Record<string, unknown> = isObject ? { ...input } : {};
  const refuse = (name: string, problem: string): PlimsollError =>
    new PlimsollError('PL_INPUT_INVALID', `input of ${operation.id} is not valid: ${name}: ${problem}`, {
      data: { issues: [{ path: name, message: problem }] },
    });

  const filled = path.replaceAll(parameter, (_all, name: string) => {
    const value = textOf(rest[name]);
    delete rest[name];
    // A URL loses `.` and `..` as segments, in any encoding: the request would go to another path.
    if (value === undefined || value === '' || value === '.' || value === '..')
      throw refuse(name, 'it is part of the path; give text that is not empty, "." or ".."');
    return encodeURIComponent(value);
  });

  if (operation.kind === 'command') {
    const body = isObject ? rest : input;
    return { method: 'POST', path: filled, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  }
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(rest)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? (value as readonly unknown[]) : [value]) {
      const text = textOf(one);
      if (text === undefined)
        throw refuse(name, 'a query string holds text, numbers, booleans, dates and lists of them');
      query.append(name, text);
    }
  }
  return { method: 'GET', path: query.size === 0 ? filled : `${filled}?${query.toString()}` };
}

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return String(value);
  return value instanceof Date ? value.toISOString() : undefined;
}
