import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { jsonCopy } from '../kernel/json-copy.ts';
import { validate } from '../kernel/validate.ts';
import type { RecordedEvent } from '../outbox/events.ts';
import { moveCommitted, relayDefaults } from '../outbox/relay.ts';
import type { AnyEvent } from './contract.ts';
import { payloadNow } from '../outbox/event-versions.ts';

export interface ErasureRequest {
  /** Whose data: what `personal.subject` of the events gives. */
  readonly subject: string;
  /** Who asks, and why; kept with the erasure. */
  readonly by: string;
  readonly why: string;
  /** How long to wait for transactions that are open when it begins, for they may hold more. Default 30_000. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

export interface Erasure {
  /** Events whose payload was changed. */
  readonly events: number;
  /** Deliveries that had not ended and now carry the changed payload. */
  readonly deliveries: number;
  /** Events of the subject that could not be read or changed, and so still hold their data. */
  readonly left: readonly {
    readonly type: string;
    readonly version: number;
    readonly why: string;
    readonly events: number;
  }[];
  /**
   * False when transactions that were open at the beginning are open still: run it again when they have ended.
   */
  readonly complete: boolean;
}

const batch = 500;

/**
 * Takes the data of a person out of the payloads of the log and of deliveries that have not ended, by what the
 * contracts say (`personal`). Events, their order and positions stay, and what is left of a payload matches its
 * schema, so subscribers and views read on. An event that an older version wrote is upcast first and stays so.
 *
 * Covered is what was written before this call, whether it was committed by then or not; so change first what lets
 * new events of the person come about. Not covered: what handlers, views and other systems made of the events,
 * inputs of jobs, and backups.
 */
export async function eraseSubject(
  database: Database,
  events: readonly AnyEvent[],
  request: ErasureRequest,
): Promise<Erasure> {
  const { subject, by, why, timeoutMs = 30_000, clock = systemClock } = request;
  const byType = new Map(events.map((event) => [event.id, event]));
  const deadlineMs = clock.monotonicMs() + timeoutMs;
  const first = await eraseLogged(database, byType, subject);
  // Whoever was at it with the old payload, a commit or a replay, has ended after this, and left it here.
  const complete = await openOnesEnded(database, clock, deadlineMs);
  const drained = await outboxDrained(database, subject, clock, deadlineMs);
  const second = await eraseLogged(database, byType, subject);
  const changed = first.events + second.events;
  await database.execute(
    sql`insert into plimsoll.erasure (subject, by, why, events) values (${subject}, ${by}, ${why}, ${changed})`,
  );
  return {
    events: changed,
    deliveries: first.deliveries + second.deliveries,
    left: second.left,
    complete: complete && drained,
  };
}

type Pass = Pick<Erasure, 'events' | 'deliveries' | 'left'>;

/** All that is in the log now. */
async function eraseLogged(
  database: Database,
  byType: ReadonlyMap<string, AnyEvent>,
  subject: string,
): Promise<Pass> {
  const left = new Map<string, Erasure['left'][number]>();
  let erased = 0;
  let after = 0;
  for (;;) {
    const rows = await database.query<RecordedEvent>(sql`
      select id::text, position::float8, type, version, key, payload from plimsoll.event e
      where subject = ${subject} and erased_at is null and position > ${after} order by e.position limit ${batch}`);
    const changes: object[] = [];
    for (const row of rows) {
      const { position, type, version } = row;
      const change = await withoutPerson(byType.get(type), row);
      if ('payload' in change) {
        changes.push({ position, ...change });
        continue;
      }
      const known = left.get(`${type} ${version}`)?.events ?? 0;
      left.set(`${type} ${version}`, { type, version, why: change.why, events: known + 1 });
    }
    if (changes.length > 0)
      erased += await database.execute(sql`
        update plimsoll.event e set payload = c->'payload', version = (c->>'version')::int, erased_at = now()
        from jsonb_array_elements(${sql.json(changes)}) c
        where e.position = (c->>'position')::bigint and e.subject = ${subject} and e.erased_at is null`);
    if (rows.length < batch) break;
    after = rows.at(-1)?.position ?? after;
  }
  return { events: erased, deliveries: await eraseDeliveries(database, subject), left: [...left.values()] };
}

async function withoutPerson(
  event: AnyEvent | undefined,
  recorded: RecordedEvent,
): Promise<{ readonly payload: unknown; readonly version: number } | { readonly why: string }> {
  if (event === undefined) return { why: 'no contract has this event any more' };
  if (event.personal === undefined) return { why: 'its contract no longer says what of it is personal' };
  const what = `payload of ${event.id}, event ${recorded.id}, without its personal data`;
  try {
    const payload = jsonCopy(event.personal.erase(payloadNow(event, recorded)), what);
    await validate(event.payload, payload, 'PL_PAYLOAD_INVALID', what);
    return { payload: payload ?? null, version: event.version };
  } catch (error) {
    if (isPlimsollError(error)) return { why: error.message };
    return { why: `${what}: personal.erase threw: ${String(error)}` };
  }
}

function eraseDeliveries(database: Database, subject: string): Promise<number> {
  return database.execute(sql`
    update plimsoll.task t set payload = t.payload || jsonb_build_object('payload', e.payload, 'version', e.version, 'erased', true)
    from plimsoll.event e
    where e.subject = ${subject} and e.erased_at is not null and t.kind = 'delivery'
      and (t.payload->>'position')::bigint = e.position and t.payload->'erased' is null`);
}

/** Whether all transactions that are open now, and have written something, have ended by then. */
async function openOnesEnded(database: Database, clock: Clock, deadlineMs: number): Promise<boolean> {
  // Takes an id, which is after those of all of them; the end of a snapshot would only be after those that have ended.
  const { own } = await database.one<{ own: string }>(sql`select pg_current_xact_id()::text as own`);
  return until(clock, deadlineMs, async () => {
    const { ended } = await database.one<{ ended: boolean }>(
      sql`select pg_snapshot_xmin(pg_current_snapshot()) > ${own}::xid8 as ended`,
    );
    return ended;
  });
}

async function outboxDrained(
  database: Database,
  subject: string,
  clock: Clock,
  deadlineMs: number,
): Promise<boolean> {
  return until(clock, deadlineMs, async () => {
    const { waiting } = await database.one<{ waiting: boolean }>(
      sql`select exists (select 1 from plimsoll.outbox where subject = ${subject}) as waiting`,
    );
    if (waiting) await moveCommitted(database, relayDefaults.batch);
    return !waiting;
  });
}

async function until(clock: Clock, deadlineMs: number, holds: () => Promise<boolean>): Promise<boolean> {
  for (;;) {
    if (await holds()) return true;
    if (clock.monotonicMs() >= deadlineMs) return false;
    await clock.sleep(20);
  }
}
