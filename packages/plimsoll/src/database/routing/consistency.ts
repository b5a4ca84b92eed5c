import type { Lsn, Mark } from '../../kernel/seen.ts';

/**
 * How current a read must be. `eventual`: any replica that is well. `window`: the same, and the primary for who has
 * written a moment ago, whatever the replicas have by then. `ryw`: shows the reader's own writes. `session`: also never
 * older than what the reader has read before. `strong`: the primary.
 */
export type Consistency = 'eventual' | 'window' | 'ryw' | 'session' | 'strong';
export const consistencies: readonly Consistency[] = ['eventual', 'window', 'ryw', 'session', 'strong'];

/** Whether reads of the level go by the log position of what their reader has seen. */
export function needsPosition(level: Consistency): boolean {
  return level === 'ryw' || level === 'session';
}

/** The position that a server must have reached to serve the read. */
export function neededBy(level: Consistency, mark: Mark | undefined): Lsn {
  if (mark === undefined || !needsPosition(level)) return 0n;
  if (level === 'ryw') return mark.written;
  return mark.written > mark.read ? mark.written : mark.read;
}
