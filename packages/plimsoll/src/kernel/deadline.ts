import { contextWatch } from './context-watch.ts';
import { remainingMs, type RequestContext } from './context.ts';
import { PlimsollError } from './errors.ts';

/**
 * Settles with `work`, or rejects with PL_DEADLINE when the context's time is up first. The work is not
 * stopped by this: what it does later cannot commit, because statements check the same deadline.
 */
export function beforeDeadline<T>(context: RequestContext, work: Promise<T>): Promise<T> {
  if (context.deadlineAtMs === Infinity) return work;
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const unwatch = contextWatch.watchDeadline(context.deadlineAtMs, () => {
    reject(
      new PlimsollError(
        'PL_DEADLINE',
        `${context.operation ?? 'the request'} was not done within its time limit`,
        {
          data: { path: context.path },
        },
      ),
    );
  });
  work.then(
    (value) => {
      unwatch();
      resolve(value);
    },
    (error: unknown) => {
      unwatch();
      reject(error as Error);
    },
  );
  return promise;
}

/** Aborts at the context's deadline or when it is cancelled. One more for each asking, so ask once. */
export function signalOf(context: RequestContext): AbortSignal {
  // A timer may fire a fraction early; whoever sees the signal must also see the deadline passed.
  const leftMs = remainingMs(context);
  const timeout = leftMs === Infinity ? [] : [AbortSignal.timeout(Math.ceil(leftMs) + 1)];
  const { signal } = context;
  return AbortSignal.any([...timeout, ...(signal === undefined ? [] : [signal])]);
}
