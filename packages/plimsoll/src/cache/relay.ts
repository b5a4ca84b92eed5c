import type { Queryable } from '../database/statements.ts';
import { createLoop } from '../durable/loop.ts';
import type { Purger } from '../http-cache/purger.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import { createLifecycle, extendLifecycle, type Lifecycle } from '../kernel/lifecycle.ts';
import type { Cache } from './cache.ts';
import { deletePublished, findUnpublished, type RecordedInvalidation } from './invalidation-rows.ts';
import type { Position } from './position.ts';
import { createPurgeLoop } from './purge-loop.ts';
import { makePurges } from './purge-rows.ts';

export interface InvalidationRelayOptions {
  /** Its primary, with the tables of `cacheMigrations`. */
  readonly database: Pick<Queryable, 'query' | 'execute'>;
  /** Those whose rows it publishes. */
  readonly caches: readonly (Pick<Cache, 'invalidate' | 'clear'> & { readonly name: string })[];
  /** The history that positions belong to; undefined while it is not known. Default: invalidations get no position. */
  readonly epoch?: () => string | undefined;
  /** How often it looks for rows that nobody has published. Default 500. */
  readonly pollMs?: number;
  /** How long the writer has before it is taken to have died. Default 1_000. */
  readonly olderThanMs?: number;
  /**
   * Caches outside of us that carry these tags (`plimsoll/http-cache`). A row stays until each of them is purged; neither
   * writers nor the inner tiers wait for that. The same in each process, or a process without loses purges. Default none.
   */
  readonly purgers?: readonly Purger[];
  /**
   * When each purge is made once more, for answers that were under way and for tiers that had not heard yet. 0: never.
   * Default 5_000.
   */
  readonly purgeAgainMs?: number;
  /** How long a process has for the purges it took before others may make them. Default 30_000. */
  readonly purgeLeaseMs?: number;
  /** Whose telemetry this is. Default the relay itself. */
  readonly scope?: object;
}

export const invalidationRelayDefaults = {
  pollMs: 500,
  olderThanMs: 1_000,
  purgeAgainMs: 5_000,
  purgeLeaseMs: 30_000,
} as const;

/** Publishes invalidations after their commit, and those whose writers did not come to it. */
export interface InvalidationRelay extends Lifecycle {
  /** By the writer, right after its COMMIT, with the position of that. Never rejects. */
  published(recorded: RecordedInvalidation, at?: Position): Promise<void>;
}

/** Rows of one round, at most. */
const most = 500;

/** Throws PL_CONFIG when an option of its purges is not valid. */
export function createInvalidationRelay(options: InvalidationRelayOptions): InvalidationRelay {
  const settings = { ...invalidationRelayDefaults, ...options };
  const { database, caches, epoch, pollMs, olderThanMs, purgers = [] } = settings;
  const { purgeAgainMs: againMs, purgeLeaseMs: leaseMs } = settings;
  const identity = {};
  const scope = options.scope ?? identity;
  const byName = new Map(caches.map((cache) => [cache.name, cache]));
  const purgerNames = purgers.map(({ name }) => name);
  throwIfProblems('the relay of invalidations', purgeProblems(purgerNames, againMs, leaseMs));
  const purging = purgers.map((purger) =>
    createPurgeLoop({ database, purger, scope, pollMs, againMs, leaseMs }),
  );
  let history: string | undefined;
  // Of rows that all inner tiers were told of; taken away together.
  let told: string[] = [];

  async function tell(
    { id, cache, tags, keys }: RecordedInvalidation,
    at: Position | undefined,
  ): Promise<boolean> {
    const done = await byName.get(cache)?.invalidate({
      tags,
      keys,
      ...(at === undefined ? {} : { at, row: id }),
    });
    // Without its position a late replica could fill it again: the row is found once more, and has one then.
    const isWhole = at !== undefined || epoch?.() === undefined;
    if (done === true && isWhole) told.push(id);
    return done === true;
  }

  async function forget(): Promise<void> {
    const ids = told;
    if (ids.length === 0) return;
    told = [];
    try {
      // Not before: a cache outside would fill from an inner tier that is older.
      if (purging.length > 0) await makePurges(database, ids, purgerNames, againMs > 0 ? 2 : 1);
      else await deletePublished(database, ids);
    } catch (error) {
      told.push(...ids);
      throw error;
    }
    for (const loop of purging) loop.wake();
  }

  /** A promotion may have lost commits, and what they wrote may be kept: no row tells of that. */
  async function endLostHistory(): Promise<void> {
    const now = epoch?.();
    if (now === undefined) return;
    if (history !== undefined && history !== now)
      await Promise.all(caches.map(async (cache) => await cache.clear()));
    history = now;
  }

  async function round(): Promise<boolean> {
    await endLostHistory();
    await forget();
    const found = await findUnpublished(database, [...byName.keys()], olderThanMs, most);
    const known = epoch?.();
    const results = await Promise.all(
      found.map(({ lsn, ...row }) => tell(row, known === undefined ? undefined : { epoch: known, lsn })),
    );
    await forget();
    return found.length === most && results.every(Boolean);
  }

  const loop = createLoop({ name: 'relay of invalidations', scope, pollMs, round, onStop: forget });
  const lifecycle = createLifecycle({
    name: 'relay of invalidations',
    async start() {
      for (const each of [...purging, loop]) await each.start();
    },
    // First what makes purges, so that the last ones are rows.
    async drain() {
      await loop.drain();
      await endPurging();
    },
    async stop() {
      try {
        await loop.stop();
      } finally {
        await endPurging();
      }
    },
  });
  async function endPurging(): Promise<void> {
    for (const each of purging) each.giveUp();
    await Promise.all(purging.map((each) => each.stop()));
  }

  return extendLifecycle(lifecycle, {
    async published(recorded: RecordedInvalidation, at?: Position) {
      await tell(recorded, at);
      if (told.length >= most) loop.wake();
      // Not started, or the database is away: those that are forgotten are found as rows.
      if (told.length > 10 * most) told = told.slice(-most);
    },
  });
}

function purgeProblems(
  names: readonly string[],
  purgeAgainMs: number,
  purgeLeaseMs: number,
): readonly Problem[] {
  const problems: Problem[] = [];
  // Each finds its rows by its name.
  for (const name of new Set(names.filter((each, index) => names.indexOf(each) !== index)))
    problems.push({
      path: 'purgers',
      message: `has two of the name ${JSON.stringify(name)}; give each a name of its own`,
    });
  if (!(purgeAgainMs >= 0 && purgeAgainMs <= 86_400_000))
    problems.push({
      path: 'purgeAgainMs',
      message: `is ${purgeAgainMs}; give milliseconds from 0 to 86400000, a day`,
    });
  if (!(purgeLeaseMs > 0 && purgeLeaseMs <= 86_400_000))
    problems.push({
      path: 'purgeLeaseMs',
      message: `is ${purgeLeaseMs}; give milliseconds above 0, at most 86400000, a day`,
    });
  return problems;
}
