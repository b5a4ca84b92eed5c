import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import { createLoop, type Loop } from '../durable/loop.ts';
import { background } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { catchUp } from './catch-up.ts';
import { insertDeliveries } from './deliveries.ts';
import { feedDefaults, readingLog } from './feed.ts';
import { dropExpired, extendLog, partitionDefaults } from './partitions.ts';
import { createOutboxFloor } from './outbox-floor.ts';
import { continueReplays } from './replay.ts';
import { recordSubscriptions, type SubscriptionRecord } from './subscriptions.ts';

export interface RelayOptions {
  readonly database: Database;
  /** All subscriptions of the modules that this process hosts; recorded at start. */
  readonly subscriptions: readonly SubscriptionRecord[];
  /** Modules that this process hosts: their subscriptions that no process has listed for ten minutes are forgotten. */
  readonly modules: readonly string[];
  /** How often to look when nobody wakes the relay. Default 250. */
  readonly pollMs?: number;
  /** Events per transaction. Default 1000. */
  readonly batch?: number;
  /** How long events are kept at least. Default for ever. */
  readonly retainMs?: number;
  /** How long a partition of the log should last, which is also how much longer events may be kept. Default 7 days. */
  readonly partitionMs?: number;
  /** Called after events were moved; wake the workers here. */
  readonly onMoved?: () => void;
  readonly clock?: Clock;
}

export const relayDefaults = {
  pollMs: 250,
  batch: 1_000,
  partitionMs: partitionDefaults.partitionMs,
} as const;

/** How often to say which subscriptions are here, and to look whether a partition can be dropped. */
const upkeepEveryMs = 60_000;

/**
 * Moves committed events from the outbox to the log and makes a task for each subscription, all in one
 * transaction. It takes whatever rows are there, not rows after a cursor, so an event whose transaction
 * committed late is taken late and never skipped. One relay at a time does the work; the others find the
 * sequencer locked and leave. Between that it catches new subscriptions up, goes on with replays, and drops what
 * is old.
 */
export function createRelay(options: RelayOptions): Loop {
  const { database, clock = systemClock } = options;
  const settings = { ...relayDefaults, ...options };
  const limits = { ...feedDefaults, batch: settings.batch };
  const floor = createOutboxFloor(clock);
  const record = (): Promise<void> => recordSubscriptions(database, options.subscriptions, options.modules);
  // Of the last upkeep.
  let keptUpAtMs = -Infinity;

  async function round(): Promise<boolean> {
    const behind = floor.next();
    const { outbox, log } = await workToDo(database, behind);
    const { moved, highest } = outbox ? await moveBehind(database, behind, settings) : nothing;
    if (moved > 0) {
      floor.moved(highest);
      options.onMoved?.();
    }
    const more = log && (await aside('reading the log for subscriptions', feed)) === true;
    if (clock.monotonicMs() - keptUpAtMs >= upkeepEveryMs) {
      keptUpAtMs = clock.monotonicMs();
      await aside('recording subscriptions', record);
      const { retainMs } = settings;
      if (retainMs !== undefined) await aside('dropping what is old', () => dropExpired(database, retainMs));
    }
    return moved === settings.batch || more;
  }

  async function feed(): Promise<boolean> {
    const behind = await catchUp(database, limits);
    const replaying = await continueReplays(database, limits);
    options.onMoved?.();
    return behind || replaying;
  }

  /** Its failure is told, and holds up no event. */
  async function aside<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      background.publish({ scope: database.scope, what, error });
      return undefined;
    }
  }

  return createLoop({
    name: 'outbox relay',
    scope: database.scope,
    pollMs: settings.pollMs,
    round,
    onStart: record,
  });
}

/** Most rounds find nothing; that look needs no transaction. */
function workToDo(
  database: Database,
  behind: number,
): Promise<{ readonly outbox: boolean; readonly log: boolean }> {
  // By the order, for only that makes the index be used: with 200,000 dead rows 1 ms rather than 10.
  const outbox =
    behind === 0
      ? sql`exists (select 1 from plimsoll.outbox)`
      : sql`(select id from plimsoll.outbox where id > ${behind} order by id limit 1) is not null`;
  return database.one(sql`
    select ${outbox} as outbox, ${readingLog} as log`);
}

interface Moved {
  readonly moved: number;
  /** The highest id of them. */
  readonly highest: number;
}

const nothing: Moved = { moved: 0, highest: 0 };

/** One transaction of the relay; returns how many events it moved. */
export async function moveCommitted(
  database: Database,
  batch: number,
  partitionMs: number = relayDefaults.partitionMs,
): Promise<number> {
  return (await moveBehind(database, 0, { batch, partitionMs })).moved;
}

/** The same for events whose id is higher than `behind`. */
function moveBehind(
  database: Database,
  behind: number,
  { batch, partitionMs }: { readonly batch: number; readonly partitionMs: number },
): Promise<Moved> {
  return database.transaction(async (tx) => {
    const leading = await tx.maybeOne<{ last: number; room: boolean }>(sql`
      select (position + ${batch})::float8 as last, position + ${batch} < partitioned_to as room
      from plimsoll.sequencer for update skip locked`);
    if (leading === undefined) return nothing;
    if (!leading.room) await extendLog(tx, leading.last, partitionMs);
    return await tx.one<Moved>(moveStatement(behind, batch));
  });
}

function moveStatement(behind: number, batch: number): Sql {
  const live = sql`select * from plimsoll.subscription where live_from is not null`;
  return sql`
    with taken as (
      delete from plimsoll.outbox
      where id = any(array(select id from plimsoll.outbox where id > ${behind} order by id limit ${batch})) returning *
    ), advanced as (
      update plimsoll.sequencer set position = position + (select count(*) from taken)
      returning position - (select count(*) from taken) as base
    ), logged as (
      insert into plimsoll.event (position, id, type, version, key, subject, at, correlation_id, causation_id, operation, caller, payload)
      select base + row_number() over (order by id), id, type, version, key, subject, at, correlation_id, causation_id, operation, caller, payload
      from taken, advanced
      returning *
    ), delivered as (${insertDeliveries(sql`select * from logged`, live)})
    select count(*)::int as moved, coalesce(max(id), 0)::float8 as highest from logged`;
}
