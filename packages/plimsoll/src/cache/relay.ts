import type { Queryable } from '../database/statements.ts';
import { createLoop } from '../durable/loop.ts';
import { extendLifecycle, type Lifecycle } from '../kernel/lifecycle.ts';
import type { CacheView } from './cache.ts';
import { deletePublished, findUnpublished, type RecordedInvalidation } from './invalidation-rows.ts';
import type { Position } from './position.ts';

export interface InvalidationRelayOptions {
  /** Its primary, with the tables of `cacheMigrations`. */
  readonly database: Pick<Queryable, 'query' | 'execute'>;
  /** Those whose rows it publishes. */
  readonly caches: readonly (Pick<CacheView, 'invalidate'> & { readonly name: string })[];
  /** The history that positions belong to; undefined while it is not known. Default: invalidations get no position. */
  readonly epoch?: () => string | undefined;
  /** How often it looks for rows that nobody has published. Default 500. */
  readonly pollMs?: number;
  /** How long the writer has before it is taken to have died. Default 1_000. */
  readonly olderThanMs?: number;
  /** Whose telemetry this is. Default the relay itself. */
  readonly scope?: object;
}

export const invalidationRelayDefaults = { pollMs: 500, olderThanMs: 1_000 } as const;

/** Publishes invalidations after their commit, and those whose writers did not come to it. */
export interface InvalidationRelay extends Lifecycle {
  /** By the writer, right after its COMMIT, with the position of that. Never rejects. */
  published(recorded: RecordedInvalidation, at?: Position): Promise<void>;
}

/** Rows of one round, at most. */
const most = 500;

export function createInvalidationRelay(options: InvalidationRelayOptions): InvalidationRelay {
  const { database, caches, epoch, pollMs, olderThanMs } = { ...invalidationRelayDefaults, ...options };
  const identity = {};
  const scope = options.scope ?? identity;
  const byName = new Map(caches.map((cache) => [cache.name, cache]));
  // Of rows that everybody was told of; deleted together.
  let told: string[] = [];

  async function tell(
    { id, cache, tags, keys }: RecordedInvalidation,
    at: Position | undefined,
  ): Promise<boolean> {
    const done = await byName.get(cache)?.invalidate({ tags, keys, ...(at === undefined ? {} : { at }) });
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
      await deletePublished(database, ids);
    } catch (error) {
      told.push(...ids);
      throw error;
    }
  }

  async function round(): Promise<boolean> {
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
  return extendLifecycle(loop, {
    async published(recorded: RecordedInvalidation, at?: Position) {
      await tell(recorded, at);
      if (told.length >= most) loop.wake();
      // Not started, or the database is away: those that are forgotten are found as rows.
      if (told.length > 10 * most) told = told.slice(-most);
    },
  });
}
