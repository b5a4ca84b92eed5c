import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { validate } from '../kernel/validate.ts';
import { payloadNow } from '../outbox/event-versions.ts';
import type { ReadEvent, View } from './view.ts';

interface LogRow {
  readonly head: number;
  readonly kept: boolean;
  /** Null where there is no event of the view. */
  readonly id: string | null;
}
interface EventRow extends LogRow {
  readonly id: string;
  readonly position: number;
  readonly type: string;
  readonly version: number;
  readonly key: string | null;
  readonly at: Date;
  readonly correlation_id: string;
  readonly is_erased: boolean;
  readonly payload: unknown;
}

/** What comes after a position of the log. */
export interface LogRead {
  /** The last position there is. */
  readonly head: number;
  /** Whether the event right after the position is still there; without one there is none at all. */
  readonly kept: boolean;
  /** Those of the view, in the order of the log. */
  readonly events: readonly ReadEvent[];
}

/** The last position of the log that a statement begun now can see everything up to. */
export async function headOf(log: Pick<Queryable, 'one'>): Promise<number> {
  return (await log.one<{ position: number }>(sql`select position from plimsoll.sequencer`)).position;
}

/**
 * The events of a view within `span` positions past `after`. Positions are dense, so that this is also the most rows
 * there can be; one statement, so that the head and the events are of one moment. Rejects with what cannot be read.
 */
export async function readEvents(
  log: Pick<Queryable, 'query'>,
  view: View,
  after: number,
  span: number,
): Promise<LogRead> {
  const rows = await log.query<LogRow | EventRow>(sql`
    select s.position as head, exists (select 1 from plimsoll.event where position = ${after + 1}) as kept,
      e.id::text as id, e.position, e.type, e.version, e.key, e.at, e.correlation_id, e.payload, e.erased_at is not null as is_erased
    from plimsoll.sequencer s left join plimsoll.event e
      on e.position > ${after} and e.position <= ${after + span} and e.type = any(${[...view.events.keys()]})
    order by e.position`);
  const events: ReadEvent[] = [];
  for (const row of rows) {
    if (!isEvent(row)) continue;
    const { id, position, type, key, at, correlation_id: correlationId, is_erased: erased } = row;
    const read = readPayload(view, row);
    const payload: unknown = read instanceof Promise ? await read : read;
    events.push({ id, position, type, key, at, correlationId, erased, payload });
  }
  const { head = after, kept = true } = rows[0] ?? {};
  return { head, kept, events };
}

const isEvent = (row: LogRow | EventRow): row is EventRow => row.id !== null;

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
