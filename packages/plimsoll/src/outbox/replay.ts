import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { matching, type EventFilter } from './event-filter.ts';
import { feedDefaults, feedOnce, isBacklogged, type FeedLimits } from './feed.ts';

export interface ReplayRequest {
  /** `orders.charge` */
  readonly subscription: string;
  /** Which of the events that it reacts to. */
  readonly filter: EventFilter;
  /** Who asks, and why; kept with the replay. */
  readonly by: string;
  readonly why: string;
}

export interface ReplayState {
  readonly id: number;
  readonly subscription: string;
  readonly filter: EventFilter;
  /** Deliveries made so far. */
  readonly delivered: number;
  /** The last position looked at, and the last to look at. */
  readonly position: number;
  readonly until: number;
  readonly by: string;
  readonly why: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly endedAt: string | null;
}

/** The subscription as it is recorded; PL_SUBSCRIPTION_UNKNOWN when it is not. */
export async function assertSubscription(
  database: Database,
  name: string,
): Promise<{ readonly eventType: string; readonly live: boolean }> {
  const known = await database.query<{ name: string; eventType: string; live: boolean }>(sql`
    select name, event_type as "eventType", live_from is not null as live from plimsoll.subscription order by name`);
  const found = known.find((subscription) => subscription.name === name);
  if (found !== undefined) return found;
  throw new PlimsollError(
    'PL_SUBSCRIPTION_UNKNOWN',
    `there is no subscription ${JSON.stringify(name)}; recorded are ${known.map((one) => one.name).join(', ') || 'none, because no app with one has been started on this database'}`,
    { data: { subscription: name } },
  );
}

/** How many events a replay would bring. */
export async function countReplay(
  database: Database,
  { subscription, filter }: Pick<ReplayRequest, 'subscription' | 'filter'>,
): Promise<number> {
  const { eventType } = await assertSubscription(database, subscription);
  assertType(filter, subscription, eventType);
  const { events } = await database.one<{ events: number }>(
    sql`select count(*)::float8 as events from plimsoll.event where ${matching({ ...filter, type: eventType })}`,
  );
  return events;
}

/**
 * Begins to bring a subscription events of the log again, as they are in the log at this moment. Each is delivered
 * once more and has its effect once more, whatever the inbox says of earlier deliveries: a replay is a new effect
 * on purpose. The relay of any process goes on with it, or whoever calls {@link replayOnce}.
 */
export async function startReplay(database: Database, request: ReplayRequest): Promise<ReplayState> {
  const { subscription, by, why } = request;
  const { eventType, live } = await assertSubscription(database, subscription);
  assertType(request.filter, subscription, eventType);
  if (!live) {
    throw new PlimsollError(
      'PL_REPLAY_REFUSED',
      `${subscription} is still being caught up from the log; replay when it is live, or it would get events twice without anybody's asking`,
      { data: { subscription } },
    );
  }
  const filter: EventFilter = { ...request.filter, type: eventType };
  const { fromPosition, toPosition } = filter;
  const id = await database.transaction(async (tx) => {
    const begun = await tx.one<{ id: number }>(sql`
      insert into plimsoll.replay (subscription, filter, until_position, by, why)
      select ${subscription}, ${sql.json(filter)}, least(position, ${toPosition ?? null}::bigint), ${by}, ${why}
      from plimsoll.sequencer returning id::float8`);
    await tx.execute(sql`
      insert into plimsoll.log_reader (name, position)
      select ${reader(begun.id)}, greatest(${(fromPosition ?? 1) - 1}::bigint, (select min(position) - 1 from plimsoll.event))`);
    return begun.id;
  });
  return replayState(database, id);
}

const reader = (id: number): string => `replay:${id}`;

function assertType({ type }: EventFilter, subscription: string, eventType: string): void {
  if (type === undefined || type === eventType) return;
  throw new PlimsollError(
    'PL_REPLAY_REFUSED',
    `${subscription} reacts to ${eventType} and cannot be given ${type}; leave the type out, or name a subscription to it`,
    { data: { subscription, type, eventType } },
  );
}

/** PL_REPLAY_REFUSED when there is none of this id. */
export async function replayState(database: Database, id: number): Promise<ReplayState> {
  const [state] = await replays(database, id);
  if (state !== undefined) return state;
  throw new PlimsollError('PL_REPLAY_REFUSED', `there is no replay ${id}`, { data: { id } });
}

/** All replays, or one; the newest first. */
export function replays(database: Database, id?: number): Promise<ReplayState[]> {
  return database.query<ReplayState>(sql`
    select p.id::float8, subscription, filter, delivered::float8, coalesce(r.position, until_position)::float8 as position, until_position::float8 as until,
      by, why, to_json(started_at)#>>'{}' as "startedAt", to_json(ended_at)#>>'{}' as "endedAt"
    from plimsoll.replay p left join plimsoll.log_reader r on r.name = 'replay:' || p.id
    where ${id ?? null}::bigint is null or p.id = ${id ?? null}
    order by p.id desc limit 100`);
}

/** One transaction of a replay. `waiting`: the subscription has as much to do as it should, or another is at it. */
export function replayOnce(
  database: Database,
  id: number,
  limits: FeedLimits = feedDefaults,
): Promise<'more' | 'waiting' | 'ended'> {
  return database.transaction(async (tx) => {
    const open = await tx.maybeOne<{
      subscription: string;
      filter: EventFilter;
      until: number;
      from: number;
    }>(sql`
      select p.subscription, p.filter, p.until_position::float8 as until, r.position::float8 as from
      from plimsoll.replay p join plimsoll.log_reader r on r.name = ${reader(id)}
      where p.id = ${id} and p.ended_at is null for update skip locked`);
    if (open === undefined) {
      const row = await tx.maybeOne(sql`select 1 from plimsoll.replay where id = ${id} and ended_at is null`);
      return row === undefined ? 'ended' : 'waiting';
    }
    const { subscription, filter, until, from } = open;
    if (await isBacklogged(tx, subscription, limits)) return 'waiting';
    const feed = { reader: reader(id), subscription, filter, until, replay: id };
    const { delivered, position } = await feedOnce(tx, feed, from, limits);
    const ended = position >= until;
    await tx.execute(sql`
      update plimsoll.replay set delivered = delivered + ${delivered}, ended_at = case when ${ended}::boolean then now() end
      where id = ${id}`);
    if (ended) await tx.execute(sql`delete from plimsoll.log_reader where name = ${reader(id)}`);
    return ended ? 'ended' : 'more';
  });
}

/** One transaction of each replay that has not ended. Returns whether there is more to do at once. */
export async function continueReplays(
  database: Database,
  limits: FeedLimits = feedDefaults,
): Promise<boolean> {
  const open = await database.query<{ id: number }>(
    sql`select id::float8 from plimsoll.replay where ended_at is null order by plimsoll.replay.id`,
  );
  let more = false;
  for (const { id } of open) more = (await replayOnce(database, id, limits)) === 'more' || more;
  return more;
}

/** Ends a replay where it is; what it has brought already stays. Whether it was still open. */
export async function stopReplay(database: Database, id: number): Promise<boolean> {
  return database.transaction(async (tx) => {
    const stopped = await tx.execute(
      sql`update plimsoll.replay set ended_at = now() where id = ${id} and ended_at is null`,
    );
    await tx.execute(sql`delete from plimsoll.log_reader where name = ${reader(id)}`);
    return stopped === 1;
  });
}
