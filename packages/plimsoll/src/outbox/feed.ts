import { sql, type Sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import type { Transaction } from '../database/transaction.ts';
import { insertDeliveries } from './deliveries.ts';
import { isSelective, matching, type EventFilter } from './event-filter.ts';

/** Events of the log for one subscription, read by a reader in `plimsoll.log_reader` from where it is. */
export interface Feed {
  readonly reader: string;
  readonly subscription: string;
  readonly filter: EventFilter;
  /** The last position to look at. */
  readonly until: number;
  /** What brings the events again; undefined for the first time. */
  readonly replay?: number | undefined;
}

export interface Fed {
  /** Deliveries made. */
  readonly delivered: number;
  /** The last position that the reader has done with. */
  readonly position: number;
}

export interface FeedLimits {
  /** Deliveries that one transaction makes at most. */
  readonly batch: number;
  /** Positions that one transaction looks at, when nothing but reading them finds the events. */
  readonly stretch: number;
  /** Deliveries of one subscription that may wait or run before no more are made from the log. */
  readonly backlog: number;
}

export const feedDefaults: FeedLimits = { batch: 1_000, stretch: 10_000, backlog: 5_000 };

/** One transaction's share: the deliveries of one stretch, and the reader moved behind it. */
export function feedOnce(tx: Transaction, feed: Feed, from: number, limits: FeedLimits): Promise<Fed> {
  const { reader, subscription, filter, until, replay } = feed;
  const { batch, stretch } = limits;
  const high = isSelective(filter) ? until : Math.min(until, from + stretch);
  const one = sql`select * from plimsoll.subscription where name = ${subscription}`;
  const moved: Sql = sql`
    update plimsoll.log_reader set updated_at = now(),
      position = case when (select count(*) from matched) < ${batch} then ${high} else (select max(position) from matched) end
    where name = ${reader} returning position`;
  return tx.one<Fed>(sql`
    with matched as (
      select * from plimsoll.event
      where position > ${from} and position <= ${high} and ${matching(filter)}
      order by position limit ${batch}
    ), delivered as (${insertDeliveries(sql`select * from matched`, one, replay)} returning 1),
    moved as (${moved})
    select (select count(*) from delivered)::int as delivered, (select position from moved)::float8 as position`);
}

/** Whether a subscription is being caught up, or a replay is under way. */
export const readingLog: Sql = sql`(exists (select 1 from plimsoll.subscription where live_from is null)
  or exists (select 1 from plimsoll.replay where ended_at is null))`;

export async function isReadingLog(db: Pick<Queryable, 'one'>): Promise<boolean> {
  return (await db.one<{ reading: boolean }>(sql`select ${readingLog} as reading`)).reading;
}

/**
 * Whether so many deliveries of a subscription wait or run that it should not be given more from the log. Those that
 * wait behind a parked one wait for somebody's decision, and do not count: the other keys should not wait with them.
 */
export async function isBacklogged(
  tx: Transaction,
  subscription: string,
  { backlog }: FeedLimits,
): Promise<boolean> {
  const { waiting } = await tx.one<{ waiting: number }>(sql`
    select count(*)::int as waiting from (
      select 1 from plimsoll.task t where name = ${subscription} and state <> 'parked'
        and not (state = 'waiting' and exists (
          select 1 from plimsoll.task h where h.name = t.name and h.order_key = t.order_key and h.state = 'parked' and h.on_park = 'block'))
      limit ${backlog}) counted`);
  return waiting >= backlog;
}
