import type { IncomingMessage, ServerResponse } from 'node:http';
import { runInContext } from '../kernel/context.ts';
import { arrive, type ContextOptions } from './arrival.ts';
import { checkSeen } from './seen.ts';

type Next = (error?: unknown) => void;
type Pattern = string | RegExp;

/** Express middleware. Put it first, so that the deadline counts from the start of the request. */
export function plimsollContext(
  options: ContextOptions = {},
): (request: IncomingMessage, response: ServerResponse, next: Next) => void {
  checkSeen(options);
  return (request, response, next) => {
    const { context } = arrive(request, response, options, expressPattern);
    runInContext(context, () => next());
  };
}

/** Under its router's own path. */
export function expressPattern(
  request: object & {
    readonly baseUrl?: string;
    readonly route?: { readonly path?: Pattern | readonly Pattern[] };
  },
): string | undefined {
  const { path } = request.route ?? {};
  return path === undefined ? undefined : `${request.baseUrl ?? ''}${textOf(path)}`;
}

/** Express takes a pattern, a regular expression, or a list of them. */
function textOf(path: Pattern | readonly Pattern[]): string {
  if (typeof path === 'string') return path;
  return path instanceof RegExp ? path.source : path.map(textOf).join(',');
}
