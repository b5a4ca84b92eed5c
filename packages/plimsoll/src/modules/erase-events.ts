import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { jsonCopy } from '../kernel/json-copy.ts';
import { validate } from '../kernel/validate.ts';
import { payloadNow } from '../outbox/event-versions.ts';
import type { RecordedEvent } from '../outbox/events.ts';
import type { AnyEvent } from './contract.ts';
import { erasedError } from './erased-error.ts';
import type { Unerased } from './unerased.ts';

export interface ErasedEvents {
  readonly events: number;
  readonly deliveries: number;
  readonly left: readonly Unerased[];
}

const batch = 500;

/** The payloads of a subject in the log and in deliveries that have not ended, and what was said of those that failed. */
export async function eraseEvents(
  database: Database,
  declared: readonly AnyEvent[],
  subject: string,
): Promise<ErasedEvents> {
  const byType = new Map(declared.map((event) => [event.id, event]));
  const left = new Map<string, Unerased>();
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
      const count = (left.get(`${type} ${version}`)?.count ?? 0) + 1;
      left.set(`${type} ${version}`, { kind: 'event', name: type, version, count, why: change.why });
    }
    if (changes.length > 0)
      erased += await database.execute(sql`
        update plimsoll.event e set payload = c->'payload', version = (c->>'version')::int, erased_at = now()
        from jsonb_array_elements(${sql.json(changes)}) c
        where e.position = (c->>'position')::bigint and e.subject = ${subject} and e.erased_at is null`);
    if (rows.length < batch) break;
    after = rows.at(-1)?.position ?? after;
  }
  const deliveries = await eraseDeliveries(database, subject);
  return { events: erased, deliveries, left: [...left.values()] };
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

/** What a handler threw may have quoted the payload: of an event that is erased, only its code stays. */
async function eraseDeliveries(database: Database, subject: string): Promise<number> {
  const changed = await database.execute(sql`
    update plimsoll.task t set last_error = ${erasedError(sql`t.last_error`)},
      payload = t.payload || jsonb_build_object('payload', e.payload, 'version', e.version, 'erased', true)
    from plimsoll.event e
    where e.subject = ${subject} and e.erased_at is not null and t.kind = 'delivery'
      and (t.payload->>'position')::bigint = e.position and t.payload->'erased' is null`);
  await database.execute(sql`
    update plimsoll.inbox i set note = i.note - 'error' from plimsoll.event e
    where e.subject = ${subject} and e.erased_at is not null and i.position = e.position and i.note ? 'error'`);
  return changed;
}
