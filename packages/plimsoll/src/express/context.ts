import type { IncomingMessage, ServerResponse } from 'node:http';
import { runInContext } from '../kernel/context.ts';
import { arrive, type Arrival, type ContextOptions } from './arrival.ts';
import { checkSeen } from './seen.ts';

type Next = (error?: unknown) => void;
type Pattern = string | RegExp;

/**
 * Express middleware. Put it first, so that the deadline counts from the start of the request. With a store of what
 * users have seen, put the same one behind your authentication again: only then it is known whose request it is.
 */
export function plimsollContext(
  options: ContextOptions = {},
): (request: IncomingMessage, response: ServerResponse, next: Next) => void {
  checkSeen(options);
  return (request, response, next) => {
    const arrival = arrive(request, response, options, expressPattern);
    const enter = (): void => runInContext(arrival.context, () => next());
    const loading = seenOf(arrival, next);
    if (loading === undefined) enter();
    else void loading.then((isLoaded) => (isLoaded ? enter() : undefined));
  };
}

/** Undefined where nothing is to be waited for; false where `caller` or `id` has thrown, and Express was told. */
function seenOf(arrival: Arrival, next: Next): Promise<boolean> | undefined {
  let loading: Promise<void> | undefined;
  try {
    loading = arrival.load();
  } catch (error) {
    next(error);
    return Promise.resolve(false);
  }
  return loading?.then(() => true);
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
