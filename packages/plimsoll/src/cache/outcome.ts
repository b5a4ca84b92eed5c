import { endOf, type RequestContext } from '../kernel/context.ts';
import { contextWatch } from '../kernel/context-watch.ts';
import { PlimsollError } from '../kernel/errors.ts';

/** How a load ended. A value and not a rejection, as perhaps nobody waits for it any more. */
export type Outcome =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** Not yet, and who waits may not wait longer. */
  | { readonly kind: 'late' }
  /** Who waits has gone. */
  | { readonly kind: 'gone'; readonly error: unknown };

export const late: Outcome = { kind: 'late' };

/** Resolves when the one who waits goes away or has no more time. */
export function goneWith(
  context: RequestContext | undefined,
  key: string,
): { readonly promise: Promise<Outcome>; stop(): void } | undefined {
  if (context === undefined) return undefined;
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const unwatch = contextWatch.watch(context, () => {
    const what = `waiting for ${JSON.stringify(key)} of a cache`;
    resolve({ kind: 'gone', error: endOf(context, what) ?? new PlimsollError('PL_ABORTED', what) });
  });
  return unwatch === undefined ? undefined : { promise, stop: unwatch };
}
