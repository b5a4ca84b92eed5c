import { systemClock, type Clock } from './clock.ts';
import type { Seen } from './seen.ts';

/** A primary that does not answer must not delay what is ready. */
const settleMs = 100;

/**
 * Takes the positions that were put off, before what a client has seen leaves the process. Resolves soon, whether or
 * not the database answers; without an answer the token says that only the primary is sure.
 */
export async function settleSoon(
  seen: Seen,
  settle: (seen: Seen) => Promise<void> = (each) => each.settle(),
  clock: Clock = systemClock,
): Promise<void> {
  const enough = new AbortController();
  try {
    await Promise.race([settle(seen), clock.sleep(settleMs, enough.signal)]);
  } catch {
    // The database is not there: the token needs the primary, and says so.
  } finally {
    enough.abort();
    seen.giveUpPositions();
  }
}
