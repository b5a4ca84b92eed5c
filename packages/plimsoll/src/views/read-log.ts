import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { validate } from '../kernel/validate.ts';
import { payloadNow } from '../outbox/event-versions.ts';
import type { ReadEvent, View } from './view.ts';

interface EventRow {
  readonly id: string;
  readonly position: number;
  readonly type: string;
  readonly version: number;
  readonly key: string | null;
  readonly at: Date;
  readonly correlation_id: string;
  readonly payload: unknown;
}

/** The last position of the log that a statement begun now can see everything up to. */
export async function headOf(log: Pick<Queryable, 'one'>): Promise<number> {
  return (await log.one<{ position: number }>(sql`select position from plimsoll.sequencer`)).position;
}

/**
 * The events of a view past `after`, up to `upTo`, in the order of the log. Positions are dense, so that the range is
 * also the most rows there can be. Rejects with what cannot be read.
 */
export async function readEvents(
  log: Pick<Queryable, 'query'>,
  view: View,
  after: number,
  upTo: number,
): Promise<readonly ReadEvent[]> {
  const rows = await log.query<EventRow>(sql`
    select id::text as id, position, type, version, key, at, correlation_id, payload from plimsoll.event
    where position > ${after} and position <= ${upTo} and type = any(${[...view.events.keys()]})
    order by position`);
  const events: ReadEvent[] = [];
  for (const row of rows) {
    const { id, position, type, key, at, correlation_id: correlationId } = row;
    const read = readPayload(view, row);
    const payload: unknown = read instanceof Promise ? await read : read;
    events.push({ id, position, type, key, at, correlationId, payload });
  }
  return events;
}

function readPayload(view: View, row: EventRow): unknown {
  const event = view.events.get(row.type);
  if (event === undefined) return undefined;
  return validate(
    event.payload,
    payloadNow(event, row),
    'PL_PAYLOAD_INVALID',
    `payload of ${row.type}, event ${row.id}`,
  );
}
