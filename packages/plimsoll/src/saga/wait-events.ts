import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import { createLoop, type Loop } from '../durable/loop.ts';
import type { ArrivedEvent } from './callable.ts';
import { lockSaga } from './statements.ts';
import { arrive } from './store.ts';

/** An event that a saga waits for. */
interface Hit extends ArrivedEvent {
  readonly saga: string;
  readonly place: string;
}

const eventColumns = sql`w.saga, w.place, e.id::text, e.position, e.type, e.version, e.key, e.payload`;

/** Of a wait `w`. */
const firstEvent = sql`
  select * from plimsoll.event e
  where e.key = w.key and e.type = w.event_type and e.position > w.after order by e.position limit 1`;

/**
 * Looks in the log for what a saga waits for: it may have come before the wait. Call it once the wait is committed:
 * an event that this look does not see is seen by the follower, whose later look sees the wait.
 */
export async function arriveFromLog(database: Database, saga: string): Promise<void> {
  const hits = await database.query<Hit>(sql`
    select ${eventColumns} from plimsoll.saga_wait w cross join lateral (${firstEvent}) e
    where w.saga = ${saga} order by w.place`);
  await arriveAll(database, hits);
}

/** A transaction for each, so that nobody holds two sagas at once in an order that another one does not keep. */
async function arriveAll(database: Database, hits: readonly Hit[]): Promise<void> {
  for (const { saga, place, ...event } of hits) {
    await database.transaction(async (tx) => {
      await tx.execute(lockSaga(saga));
      // Somebody else may have told the saga of it since the look.
      const open = await tx.execute(
        sql`delete from plimsoll.saga_wait where saga = ${saga} and place = ${place}`,
      );
      if (open === 1)
        await arrive(tx, saga, { kind: 'arrived', place, op: 'event', output: { value: event } });
    });
  }
}

export interface EventFollowerOptions {
  readonly database: Database;
  /** How often to look when nobody wakes it. Default 250. */
  readonly pollMs?: number;
  /** Events per look. Default 10_000. */
  readonly batch?: number;
  /** Called after sagas were woken; wake the workers here. */
  readonly onWoken?: () => void;
}

export const followerDefaults = { pollMs: 250, batch: 10_000 } as const;

/** Its name among the readers of the log. */
const reader = 'plimsoll.saga';

/**
 * Reads the log and tells sagas of the events that they wait for. How far it has read moves only after they were
 * told, so a follower that dies leaves nothing out; what two of them do at once is done once.
 */
export function createEventFollower(options: EventFollowerOptions): Loop {
  const { database } = options;
  const settings = { ...followerDefaults, ...options };

  async function round(): Promise<boolean> {
    const { woken, more } = await follow(database, settings.batch);
    if (woken) options.onWoken?.();
    return more;
  }

  return createLoop({
    name: 'saga events',
    scope: database.scope,
    pollMs: settings.pollMs,
    round,
    onStart: async () => void (await database.execute(beginReading())),
  });
}

/** From here on; sagas look for earlier events themselves. */
function beginReading(): Sql {
  return sql`
    insert into plimsoll.log_reader (name, position) select ${reader}, position from plimsoll.sequencer
    on conflict do nothing`;
}

/** One look of the follower. */
export async function follow(
  database: Database,
  batch: number,
): Promise<{ readonly woken: boolean; readonly more: boolean }> {
  const { head, position } = await database.one<{ head: number; position: number | null }>(sql`
    select s.position as head, r.position from plimsoll.sequencer s
    left join plimsoll.log_reader r on r.name = ${reader}`);
  if (position === null || position >= head) return { woken: false, more: false };
  const upTo = Math.min(head, position + batch);
  // After the head was read: a wait that this does not see was committed later, and looks for itself.
  // Who waits for one of these gets the first that there is: one that came before the wait comes before these.
  const hits = await database.query<Hit>(sql`
    select ${eventColumns} from (
      select distinct w.saga, w.place, w.event_type, w.key, w.after
      from plimsoll.saga_wait w join plimsoll.event n
        on n.type = w.event_type and n.key = w.key and n.position > w.after
      where n.position > ${position} and n.position <= ${upTo}) w
    cross join lateral (${firstEvent}) e
    order by w.saga, w.place`);
  await arriveAll(database, hits);
  await database.execute(sql`
    update plimsoll.log_reader set position = ${upTo}, updated_at = now()
    where name = ${reader} and position < ${upTo}`);
  return { woken: hits.length > 0, more: upTo < head };
}
