import type { Lsn, Mark } from '../../kernel/seen.ts';

/**
 * How current a read must be. `eventual`: any replica that is well. `ryw`: shows the reader's own writes.
 * `session`: also never older than what the reader has read before. `strong`: the primary.
 */
export type Consistency = 'eventual' | 'ryw' | 'session' | 'strong';
export const consistencies: readonly Consistency[] = ['eventual', 'ryw', 'session', 'strong'];

/** The position that a server must have reached to serve the read. */
export function neededBy(level: Consistency, mark: Mark | undefined): Lsn {
  if (mark === undefined || level === 'eventual') return 0n;
  if (level === 'ryw') return mark.written;
  return mark.written > mark.read ? mark.written : mark.read;
}
