import { setTimeout as delay } from 'node:timers/promises';

export interface UntilOptions {
  readonly timeoutMs: number;
  readonly everyMs?: number;
  /** The error when time is up. */
  readonly late: () => Error;
}

/** Polls `probe` until it answers something other than `undefined` or `false`. */
export async function until<T>(
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  options: UntilOptions,
): Promise<T> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (performance.now() >= deadline) throw options.late();
    await delay(options.everyMs ?? 15);
  }
}

/** Like `until`, but says `false` when time is up. */
export async function happensWithin(timeoutMs: number, probe: () => boolean): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!probe()) {
    if (performance.now() >= deadline) return false;
    await delay(10);
  }
  return true;
}

/** Like `Promise.all`, but nothing is still under way when it throws. */
export async function allSettled<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

/** One task after another, in the order of the calls; a failed one does not stop those behind it. */
export function createQueue(): <T>(task: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return <T>(task: () => Promise<T>): Promise<T> => {
    const next = last.then(task, task);
    last = next.catch(() => undefined);
    return next;
  };
}
