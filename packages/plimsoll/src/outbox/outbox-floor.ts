import type { Clock } from '../kernel/clock.ts';

/** Ids that were moved so long ago are passed over, but for a full look now and then. */
const settledMs = 10_000;
const fullLookEveryMs = 5_000;
/** One mark of what was moved for so long. */
const markEveryMs = 1_000;

/**
 * From which id on a relay looks at the outbox. While a long transaction somewhere keeps the server from cleaning up,
 * every row that was moved is still there as a dead one, and a look from the beginning would walk them all. So it
 * looks from what was moved ten seconds ago on, and every five seconds at all: an event whose transaction was open
 * for longer than that is moved a few seconds after its commit.
 */
export interface OutboxFloor {
  /** The id behind which to look now; 0 for a full look. */
  readonly next: () => number;
  readonly moved: (highestId: number) => void;
}

export function createOutboxFloor(clock: Clock): OutboxFloor {
  let fullLookAtMs = -Infinity;
  // The highest id that had been moved by then, oldest first; the first is the floor once it is old enough.
  let marks: { readonly atMs: number; readonly id: number }[] = [];
  return {
    next() {
      const nowMs = clock.monotonicMs();
      if (nowMs - fullLookAtMs >= fullLookEveryMs) {
        fullLookAtMs = nowMs;
        return 0;
      }
      const settled = marks.findLastIndex(({ atMs }) => nowMs - atMs >= settledMs);
      if (settled > 0) marks = marks.slice(settled);
      return settled < 0 ? 0 : (marks[0]?.id ?? 0);
    },
    moved(highestId) {
      const nowMs = clock.monotonicMs();
      const last = marks.at(-1);
      // What is left out here is covered by the next mark.
      if (last !== undefined && nowMs - last.atMs < markEveryMs) return;
      marks.push({ atMs: nowMs, id: Math.max(highestId, last?.id ?? 0) });
    },
  };
}
