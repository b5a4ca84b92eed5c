import type { Database } from '../database/database.ts';
import { sql, trustedSql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';

/**
 * The log and the inbox are partitioned by position, in the same stretches. A partition is to hold about what
 * comes in so long, so that retention by age can drop it whole: at the rate of the partition that is being filled,
 * but at most four times as large as that one, for a burst is no rate.
 */
export const partitionDefaults = {
  /** How long a partition should last. 7 days. */
  partitionMs: 7 * 86_400_000,
  /** Positions of the first partition, and the fewest of any. */
  least: 10_000,
  /** The most positions of any. */
  most: 10_000_000,
  /** How many times as large as the one before. */
  growth: 4,
} as const;

/** What of the partition that is being filled decides the size of the next. */
export interface Filling {
  /** Its size, in positions. */
  readonly size: number;
  /** Positions given in it, and in how long. */
  readonly given: number;
  readonly tookMs: number;
}

/** How many positions the next partition holds; `filling` is undefined for the first. */
export function nextSize(
  filling: Filling | undefined,
  partitionMs: number = partitionDefaults.partitionMs,
): number {
  const { least, most, growth } = partitionDefaults;
  if (filling === undefined) return least;
  const wanted = Math.round((filling.given / Math.max(1, filling.tookMs)) * partitionMs);
  return Math.max(least, Math.min(wanted, filling.size * growth, most));
}

/**
 * Makes partitions until `upTo` has one. In the transaction that holds the lock on the sequencer row, so one at a
 * time does it; attaching blocks neither readers nor writers of the others.
 */
export async function extendLog(
  tx: Queryable,
  upTo: number,
  partitionMs: number = partitionDefaults.partitionMs,
): Promise<void> {
  for (;;) {
    const { position, low } = await tx.one<{ position: number; low: number }>(
      sql`select position::float8, partitioned_to::float8 as low from plimsoll.sequencer for update`,
    );
    if (upTo < low) return;
    const high = low + nextSize(await fillingAt(tx, position), partitionMs);
    const bounds = trustedSql(`for values from (${low}) to (${high})`);
    for (const table of ['event', 'inbox']) {
      const [whole, part] = [sql.id('plimsoll', table), partition(table, low)];
      await tx.execute(sql`create table ${part} (like ${whole} including all)`);
      await tx.execute(sql`alter table ${whole} attach partition ${part} ${bounds}`);
    }
    await tx.execute(sql`create unique index on ${partition('event', low)} (id)`);
    await tx.execute(sql`update plimsoll.sequencer set partitioned_to = ${high}`);
  }
}

function partition(table: string, low: number): ReturnType<typeof sql.id> {
  return sql.id('plimsoll', `${table}_${low}`);
}

interface Partition {
  readonly low: number;
  /** The first position behind it. */
  readonly high: number;
}

/** The partitions of the log, oldest first. */
export function logPartitions(db: Queryable): Promise<Partition[]> {
  return db.query<Partition>(sql`
    with lows as (
      select substring(c.relname from 'event_([0-9]+)$')::bigint as low
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'plimsoll.event'::regclass
    )
    select low::float8, coalesce(lead(low) over (order by low), (select partitioned_to from plimsoll.sequencer))::float8 as high
    from lows order by low`);
}

async function fillingAt(tx: Queryable, position: number): Promise<Filling | undefined> {
  const partitions = await logPartitions(tx);
  const of = partitions.findLast(({ low }) => low <= Math.max(position, 1));
  if (of === undefined) return undefined;
  const size = of.high - of.low;
  if (position < of.low) return { size, given: 0, tookMs: 1 };
  const { tookMs } = await tx.one<{ tookMs: number }>(sql`
    select coalesce(extract(epoch from
      (select at from plimsoll.event where position = ${position}) - (select at from plimsoll.event where position = ${of.low})), 0)::float8 * 1000 as "tookMs"`);
  return { size, given: position - of.low + 1, tookMs };
}

/**
 * Drops the partitions whose newest event is older than `retainMs` and that every reader of `plimsoll.log_reader` has
 * done with, the oldest first; deliveries that have not ended carry their payload and keep nothing. Returns how
 * many. Dropping needs the table for itself for a moment: when somebody holds it, it is left for the next time
 * rather than making others wait.
 */
export async function dropExpired(database: Database, retainMs: number): Promise<number> {
  let dropped = 0;
  for (const { low, high } of await logPartitions(database)) {
    const { expired } = await database.one<{ expired: boolean }>(sql`
      select coalesce((select at < now() - ${retainMs}::float8 * interval '1 millisecond'
        from plimsoll.event where position = ${high - 1}), false)
        and not exists (select 1 from plimsoll.log_reader where position < ${high - 1}) as expired`);
    if (!expired || !(await dropPartition(database, low, high))) break;
    dropped += 1;
  }
  return dropped;
}

async function dropPartition(database: Database, low: number, high: number): Promise<boolean> {
  try {
    return await database.transaction(async (tx) => {
      await tx.execute(sql`set local lock_timeout = '200ms'`);
      // Whoever begins to read the log now is seen here, or finds the partition gone.
      await tx.execute(sql`lock table plimsoll.log_reader in share mode`);
      const reader = await tx.maybeOne(
        sql`select 1 from plimsoll.log_reader where position < ${high - 1} limit 1`,
      );
      if (reader !== undefined) return false;
      await tx.execute(sql`drop table if exists ${partition('event', low)}, ${partition('inbox', low)}`);
      return true;
    });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === '55P03') return false;
    throw error;
  }
}
