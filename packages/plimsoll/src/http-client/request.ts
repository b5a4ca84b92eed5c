import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { currentContext } from '../kernel/context.ts';
import { headerProblems } from './options.ts';

export type HttpMethod = 'GET' | 'HEAD' | 'OPTIONS' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type QueryValue = string | number | boolean | bigint | Date;

export interface HttpRequestOptions {
  /** For each `:name` that is a segment of the path. Encoded here. */
  readonly params?: Readonly<Record<string, QueryValue>>;
  /** A list is the same name several times; what is undefined is left out. Encoded here. */
  readonly query?: Readonly<Record<string, QueryValue | readonly QueryValue[] | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** A body as JSON. */
  readonly json?: unknown;
  /** A body as it is; say in `headers` what it is. */
  readonly body?: string | Uint8Array;
  /** Names this piece of work to a server that does it once for each key; so it may be made again. */
  readonly idempotencyKey?: string;
  /** Instead of a key: names this effect within the running operation, whose own key makes it one. */
  readonly effect?: string;
  /** Cancels the request. That of the context holds besides. */
  readonly signal?: AbortSignal;
}

/** A request before anything of the attempt is known. */
export interface PreparedRequest {
  readonly method: HttpMethod;
  /** For people and for telemetry: without values. */
  readonly pattern: string;
  /** For telemetry: `(url)` where the pattern would be a path with values. */
  readonly template: string;
  /** With its query string. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | null;
  readonly idempotencyKey: string | undefined;
  /** Changes nothing there, by its method. */
  readonly isRead: boolean;
}

const reads: ReadonlySet<string> = new Set<HttpMethod>(['GET', 'HEAD', 'OPTIONS']);

/** Throws PL_CONFIG for a request that must not be made, PL_INPUT_INVALID for values that cannot be in one. */
export function prepareRequest(
  client: { readonly name: string; readonly origin: string },
  method: HttpMethod,
  target: string | URL,
  options: HttpRequestOptions,
): PreparedRequest {
  const { pattern, path } = pathOf(client, method, target, options);
  const what = `${client.name}: ${method} ${pattern}`;
  const { json, body, headers = {} } = options;
  const isRead = reads.has(method);
  const hasBody = json !== undefined || body !== undefined;
  throwIfProblems(what, [
    ...headerProblems(headers),
    ...(hasBody && isRead ? [{ path: 'body', message: `${method} has none; give values in query` }] : []),
    ...(json !== undefined && body !== undefined
      ? [{ path: 'body', message: 'is given beside json; give one of them' }]
      : []),
  ]);
  return {
    method,
    pattern,
    template: typeof target === 'string' && target.startsWith('/') ? pattern : '(url)',
    path,
    headers: json === undefined ? headers : { 'content-type': 'application/json', ...lowerCased(headers) },
    body: json === undefined ? (body ?? null) : jsonOf(json, what),
    idempotencyKey: keyOf(client.name, what, options),
    isRead,
  };
}

function pathOf(
  { name, origin }: { readonly name: string; readonly origin: string },
  method: HttpMethod,
  target: string | URL,
  { params = {}, query }: HttpRequestOptions,
): { readonly pattern: string; readonly path: string } {
  const text = String(target);
  const isPath = text.startsWith('/');
  // Parsed as a browser would: `//host` and `/\host` are other hosts to it.
  const url = URL.canParse(text, origin) ? new URL(text, origin) : undefined;
  if (url?.origin !== origin || url.username !== '' || url.password !== '' || !(isPath || URL.canParse(text)))
    throw new PlimsollError(
      'PL_CONFIG',
      `${name}: ${method} to something outside of ${origin} is refused; give a path that begins with /, and make another client for another origin`,
      { data: { name, method, sent: 'no' } },
    );
  const pattern = isPath ? (/^[^?#]*/.exec(text)?.[0] ?? '/') : url.pathname;
  const what = `${name}: ${method} ${pattern}`;
  // Filled in before it is parsed, a value could end the segment; encoded, it cannot.
  const filled = isPath
    ? pattern.replaceAll(/(?<=\/):(\w+)(?=\/|$)/g, (_all, param: string) => segmentOf(what, param, params))
    : pattern;
  const search = [url.search.slice(1), queryOf(what, query)].filter((part) => part !== '').join('&');
  const { pathname } = new URL(filled, origin);
  return { pattern, path: search === '' ? pathname : `${pathname}?${search}` };
}

function segmentOf(what: string, param: string, params: HttpRequestOptions['params']): string {
  const text = textOf(params?.[param]);
  // A URL loses `.` and `..` as segments, in any encoding: the request would go to another path.
  if (text === undefined || text === '' || text === '.' || text === '..')
    throw invalid(what, `params.${param}`, 'is part of the path; give text that is not empty, "." or ".."');
  return encoded(what, `params.${param}`, text);
}

function queryOf(what: string, query: HttpRequestOptions['query'] = {}): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? (value as readonly unknown[]) : [value]) {
      const text = textOf(one);
      if (text === undefined)
        throw invalid(what, `query.${name}`, 'give text, numbers, booleans, dates or lists of them');
      pairs.append(name, text);
    }
  }
  return pairs.toString();
}

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return String(value);
  return value instanceof Date && !Number.isNaN(value.getTime()) ? value.toISOString() : undefined;
}

function encoded(what: string, path: string, text: string): string {
  if (!text.isWellFormed()) throw invalid(what, path, 'is half of a surrogate pair; give well-formed text');
  return encodeURIComponent(text);
}

function jsonOf(json: unknown, what: string): string {
  try {
    const text: unknown = JSON.stringify(json);
    if (typeof text === 'string') return text;
  } catch (cause) {
    throw new PlimsollError('PL_PAYLOAD_INVALID', `${what}: json cannot be written as JSON`, { cause });
  }
  throw new PlimsollError('PL_PAYLOAD_INVALID', `${what}: json is a ${typeof json}, which JSON has not`);
}

function keyOf(
  name: string,
  what: string,
  { idempotencyKey, effect }: HttpRequestOptions,
): string | undefined {
  if (effect === undefined && idempotencyKey === undefined) return undefined;
  const context = currentContext();
  throwIfProblems(what, [
    ...(effect !== undefined && idempotencyKey !== undefined
      ? [{ path: 'effect', message: 'is given beside idempotencyKey; give one of them' }]
      : []),
    ...(effect !== undefined && context === undefined
      ? [{ path: 'effect', message: 'is of an operation, and none runs here; give idempotencyKey' }]
      : []),
  ]);
  const key = idempotencyKey ?? `${context?.key}/${name}/${effect}`;
  if (!/^[\x21-\x7e]{1,512}$/.test(key))
    throw invalid(
      what,
      idempotencyKey === undefined ? 'effect' : 'idempotencyKey',
      'give 1 to 512 visible ASCII characters',
    );
  return key;
}

const lowerCased = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

function invalid(what: string, path: string, message: string): PlimsollError {
  return new PlimsollError('PL_INPUT_INVALID', `${what}: ${path}: ${message}`, {
    data: { issues: [{ path, message }] },
  });
}
