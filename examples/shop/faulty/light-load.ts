import type { Scenario } from '@plimsoll/cli/load';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A few visits at a time, again and again until told to stop: enough for a diagnosis, far below what the shop
 * holds. Answers how many requests were answered, and how many of those with an error.
 */
export async function lightLoad(
  target: string,
  scenario: Scenario,
  options: { readonly visitors: number; readonly pauseMs: number; readonly signal: AbortSignal },
): Promise<{ readonly answered: number; readonly errors: number }> {
  const { signal, pauseMs } = options;
  let next = 0;
  let answered = 0;
  let errors = 0;

  const visitor = async (): Promise<void> => {
    while (!signal.aborted) {
      const index = next;
      next += 1;
      for (const { method, path, body } of scenario.session(index, randomFrom(index))) {
        if (signal.aborted) return;
        const response = await fetch(`${target}${path}`, {
          method,
          ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }),
        });
        await response.arrayBuffer();
        answered += 1;
        if (response.status >= 400) errors += 1;
        await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
      }
    }
  };
  await Promise.all(Array.from({ length: options.visitors }, visitor));
  return { answered, errors };
}

/** Mulberry32: the same visit makes the same choices. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
