import { remainingMs, type RequestContext } from './context.ts';
import { PlimsollError } from './errors.ts';

/** A timer set for longer than this fires at once. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * Settles with `work`, or rejects with PL_DEADLINE when the context's time is up first. The work is not
 * stopped by this: what it does later cannot commit, because statements check the same deadline.
 */
export async function beforeDeadline<T>(context: RequestContext, work: Promise<T>): Promise<T> {
  const leftMs = remainingMs(context);
  if (leftMs > longestTimerMs) return work;
  const { promise: expired, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const what = context.path.at(-1) ?? 'the request';
    reject(
      new PlimsollError('PL_DEADLINE', `${what} was not done within its time limit`, {
        data: { path: context.path },
      }),
    );
  }, leftMs);
  try {
    return await Promise.race([work, expired]);
  } finally {
    clearTimeout(timer);
  }
}
