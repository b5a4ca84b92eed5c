import type { Mark } from './position.ts';

/** What this process knows of one tag, or of one key that is being filled. */
export interface Slot {
  readonly name: string;
  /** Grows with each invalidation that is known here. */
  version: number;
  /** The position of the latest of them: what is read from now on must be at or past it. */
  floor: Mark;
  /** When that was heard of; on the coarse clock. */
  raisedAtTick: number;
  /** Entries and fills that compare its version. */
  uses: number;
}
