import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';

export interface EventLag {
  /** Events that have no position yet, and how long the oldest has waited for one. */
  readonly outbox: { readonly events: number; readonly oldestMs: number };
  readonly subscriptions: readonly SubscriptionLag[];
  /** Who reads the log by position, and how many positions are left to read: views, replays. */
  readonly readers: readonly { readonly name: string; readonly behind: number }[];
}

export interface SubscriptionLag {
  readonly name: string;
  readonly eventType: string;
  /** Deliveries that wait or run, and how long ago the oldest of them was made. */
  readonly backlog: number;
  readonly oldestMs: number;
  /** Deliveries that somebody has to decide about. */
  readonly parked: number;
  /** Positions of the log that a new subscription has not been given yet; 0 when it is live. */
  readonly behind: number;
}

/** How far events and deliveries are behind. One look at the outbox and at all live work. */
export async function eventLag(db: Queryable): Promise<EventLag> {
  const { outbox, subscriptions, readers } = await db.one<EventLag>(sql`
    with deliveries as (
      select name, count(*) filter (where state <> 'parked')::int as backlog, count(*) filter (where state = 'parked')::int as parked,
        min(created_at) filter (where state <> 'parked') as oldest
      from plimsoll.task where kind = 'delivery' group by name
    ), behind as (
      select r.name, greatest(q.position - r.position, 0) as behind from plimsoll.log_reader r, plimsoll.sequencer q
    )
    select
      (select json_build_object('events', count(*), 'oldestMs', ${ageMs(sql`min(at)`)}) from plimsoll.outbox) as outbox,
      (select coalesce(json_agg(json_build_object('name', s.name, 'eventType', s.event_type, 'backlog', coalesce(d.backlog, 0),
          'oldestMs', ${ageMs(sql`d.oldest`)}, 'parked', coalesce(d.parked, 0), 'behind', coalesce(b.behind, 0)) order by s.name), '[]')
        from plimsoll.subscription s left join deliveries d on d.name = s.name
          left join behind b on b.name = 'subscription:' || s.name) as subscriptions,
      (select coalesce(json_agg(json_build_object('name', name, 'behind', behind) order by name), '[]')
        from behind where name not like 'subscription:%') as readers`);
  return { outbox, subscriptions, readers };
}

/** The transaction of the reader may have begun before the row was written. */
function ageMs(at: ReturnType<typeof sql.join>): ReturnType<typeof sql.join> {
  return sql`greatest(0, coalesce(round(extract(epoch from clock_timestamp() - ${at}) * 1000), 0))`;
}
