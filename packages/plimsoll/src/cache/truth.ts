import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { systemClock } from '../kernel/clock.ts';
import { parseLsn, timelineOf } from '../kernel/seen.ts';
import type { RecordedInvalidation } from './invalidation-rows.ts';
import type { Position } from './position.ts';

/** What the primary says of the invalidations of one cache. */
export interface TruthAnswer {
  /**
   * Each commit at or before it that has invalidated something has its row among these, or had it deleted before, which
   * is after the bus was told. Undefined when that cannot be said now; the rows are invalidations all the same.
   */
  readonly at: Position | undefined;
  /** Those that are not among the known ones. */
  readonly rows: readonly RecordedInvalidation[];
  /** Of the known ones, those that are still there; undefined when not all rows were looked at. */
  readonly known: readonly string[] | undefined;
}

/** Says which invalidations a cache may not have been told of yet. */
export interface InvalidationTruth {
  /** Rejects when the database does; when `signal` aborts it ends without a position. */
  read(cache: string, known: readonly string[], signal: AbortSignal): Promise<TruthAnswer>;
}

export interface InvalidationTruthOptions {
  /** Its primary, with the tables of `cacheMigrations`. */
  readonly database: Pick<Queryable, 'query' | 'one'>;
  /** The history that positions belong to; while it is undefined nothing can be said. */
  readonly epoch: () => string | undefined;
}

/** How long a writer that is committing is given before it is looked at again. */
const againMs = 2;
const nothing: TruthAnswer = { at: undefined, rows: [], known: undefined };
/** Rows of one answer, at most. */
const most = 1_000;

/**
 * Transactions that have written a row and have not ended. PostgreSQL lets go of the lock on a table after it has made
 * the commit visible, also of one that waits for a synchronous standby.
 */
const writers = sql`
  select virtualtransaction from pg_locks
  where locktype = 'relation' and relation = 'plimsoll.invalidation'::regclass and mode = 'RowExclusiveLock'
    and database = (select oid from pg_database where datname = current_database())`;

// The writers depend on the position, so that they are listed after it was taken.
const standing = sql`
  with here as materialized (select pg_current_wal_insert_lsn() as lsn)
  select lsn::text as lsn, pg_walfile_name(lsn) as file, array(${writers} and here.lsn is not null) as writers
  from here`;

interface RowFound {
  readonly id: string;
  readonly tags: string[] | null;
  readonly keys: string[] | null;
}

/**
 * A commit record can be in the log, so at or before its position, while nobody can see the commit yet. So after the
 * position was taken, those who have written rows are waited for, and only then the rows are read, by a statement that
 * begins after that. Writers that took too long once are not waited for again.
 */
export function invalidationTruth({ database, epoch }: InvalidationTruthOptions): InvalidationTruth {
  let slow: ReadonlySet<string> = new Set();

  async function ended(begun: readonly string[], signal: AbortSignal): Promise<boolean> {
    let left = begun;
    while (left.length > 0) {
      if (left.some((writer) => slow.has(writer))) return false;
      if (signal.aborted) {
        slow = new Set(left);
        return false;
      }
      await systemClock.sleep(againMs, signal);
      const found = await database.query<{ virtualtransaction: string }>(
        sql`${writers} and virtualtransaction = any (${[...left]}::text[])`,
      );
      left = found.map(({ virtualtransaction }) => virtualtransaction);
    }
    return true;
  }

  return {
    async read(cache, known, signal) {
      const history = epoch();
      if (history === undefined) return nothing;
      const here = await database.one<{ lsn: string; file: string; writers: string[] }>(standing);
      const isProven = await ended(here.writers, signal);
      if (!isProven) return nothing;
      const found = await database.query<RowFound>(sql`
        select id::text as id, case when known then null else tags end as tags,
          case when known then null else keys end as keys
        from (select *, id = any (${[...known]}::bigint[]) as known from plimsoll.invalidation
          where cache = ${cache}) as row
        order by known, row.id limit ${most}`);
      const rows = found.flatMap(({ id, tags, keys }) =>
        tags === null || keys === null ? [] : [{ id, cache, tags, keys }],
      );
      const isWhole = found.length < most;
      const lsn = parseLsn(here.lsn);
      const isKnown =
        history === epoch() && timelineOf(history) === Number.parseInt(here.file.slice(0, 8), 16);
      return {
        at: rows.length < most && isKnown && lsn !== undefined ? { epoch: history, lsn } : undefined,
        rows,
        known: isWhole ? found.flatMap(({ id, tags }) => (tags === null ? [id] : [])) : undefined,
      };
    },
  };
}
