import { sql, type Sql } from '../database/sql.ts';
import type { Caller } from '../kernel/context.ts';

/** An event to be written with its transaction. */
export interface NewEvent {
  /** `orders.placed` */
  readonly type: string;
  readonly version: number;
  /** What the event is about. Default none. */
  readonly key?: string | undefined;
  /** Whose personal data the payload holds, for erasure. Default nobody's. */
  readonly subject?: string | undefined;
  readonly correlationId: string;
  /** The event or job that set this off. Default none: an outside request did. */
  readonly causationId?: string | undefined;
  /** The command or subscription that writes it. Default none: code outside of modules does. */
  readonly operation?: string | undefined;
  readonly caller: Caller;
  /** JSON. */
  readonly payload: unknown;
}

/** An event as a delivery carries it. */
export interface RecordedEvent {
  readonly id: string;
  readonly position: number;
  readonly type: string;
  readonly version: number;
  readonly key: string | null;
  readonly payload: unknown;
  /** The replay that brought it again; absent when it is delivered as it happened. */
  readonly replay?: number;
  /** Present when the personal data was taken out of the payload. */
  readonly erased?: true;
}

/** Writes events in the caller's transaction; they exist exactly when it commits. Ids follow the given order. */
export function insertEvents(events: readonly NewEvent[]): Sql {
  return sql`
    insert into plimsoll.outbox (type, version, key, subject, correlation_id, causation_id, operation, caller, payload)
    select e->>'type', (e->>'version')::int, e->>'key', e->>'subject', e->>'correlationId', e->>'causationId', e->>'operation', e->'caller', e->'payload'
    from jsonb_array_elements(${sql.json(events)}) with ordinality as list (e, place) order by place`;
}

/** Notes, in the transaction of the effect, that the event has had it. No row back: it already had. */
export function insertInbox(
  subscription: string,
  { position, replay = 0 }: Pick<RecordedEvent, 'position' | 'replay'>,
): Sql {
  return sql`
    insert into plimsoll.inbox (subscription, position, replay) values (${subscription}, ${position}, ${replay})
    on conflict do nothing returning 1`;
}

/** The cause of what a delivery does: `event:7/mail.greet`, and `event:7/mail.greet/3` in replay 3. */
export function causeOf({ id, replay }: Pick<RecordedEvent, 'id' | 'replay'>, subscription: string): string {
  return `event:${id}/${subscription}${replay === undefined ? '' : `/${replay}`}`;
}
