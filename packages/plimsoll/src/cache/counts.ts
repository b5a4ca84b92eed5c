/** Since the cache was made. */
export interface CacheCounts {
  /** Answered by what the process keeps, fresh. */
  readonly processHits: number;
  /** Answered by what the same request had been answered with. */
  readonly memoHits: number;
  /** Answered by the shared tier, fresh; one for all that waited for it. */
  readonly sharedHits: number;
  /** Answered with what was no longer fresh. */
  readonly stale: number;
  /** Loads begun. */
  readonly loads: number;
  readonly loadFailures: number;
  /** Who asked while one of these was waited for. */
  readonly joined: number;
  /** Loads that were not kept: something they rest on was invalidated meanwhile. */
  readonly rejectedFills: number;
  /** Loaded past the cache, under a command or when it is not known what was written. */
  readonly bypassed: number;
  readonly abandoned: number;
  /** Questions to the primary which invalidations there are, each for all who waited for it. */
  readonly refreshes: number;
  /** Readers whom such a question did not help in time: they loaded past the cache. */
  readonly unheard: number;
  readonly sampled: number;
  /** Of these, what was kept was not what there is, and nobody had said so a second later. */
  readonly inconsistent: number;
}

export type MutableCounts = { -readonly [Name in keyof CacheCounts]: number };

export const noCounts = (): MutableCounts => ({
  processHits: 0,
  memoHits: 0,
  sharedHits: 0,
  stale: 0,
  loads: 0,
  loadFailures: 0,
  joined: 0,
  rejectedFills: 0,
  bypassed: 0,
  abandoned: 0,
  refreshes: 0,
  unheard: 0,
  sampled: 0,
  inconsistent: 0,
});
