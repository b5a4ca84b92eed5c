/** Below this many slots there is nothing to share out. */
export const leastShared = 4;
/** A name may have so many times what is left free: alone three quarters of all, two greedy ones three eighths each. */
const factor = 3;

/** What a worker may claim now. */
export interface Claim {
  readonly names: readonly string[];
  /** In all. */
  readonly limit: number;
  /** Of each name; default `limit`. */
  readonly limits?: readonly number[];
}

/**
 * Shares the slots of a worker out among the names of tasks, so that tasks of one name that hang leave room for the
 * others (dynamic thresholds: Choudhury and Hahne, 1998). A name with nothing under way may always have one.
 * `running` is how many of each name are under way; `free` slots are not taken, and at least one is. Even if all that is
 * claimed were of one name, its share would hold.
 */
export function claimable(
  names: readonly string[],
  running: ReadonlyMap<string, number>,
  free: number,
  concurrency: number,
): Claim {
  let limit = free;
  const open = names.filter((name) => {
    const more = startable(running.get(name) ?? 0, free, concurrency);
    if (more > 0) limit = Math.min(limit, more);
    return more > 0;
  });
  return { names: open, limit };
}

/** How many more of a name may start, of which `own` are under way. */
export function startable(own: number, free: number, concurrency: number): number {
  if (concurrency < leastShared) return free;
  // The most, n, for which own + n is at most factor x (free - n).
  return Math.max(own === 0 && free > 0 ? 1 : 0, Math.floor((factor * free - own) / (factor + 1)));
}
