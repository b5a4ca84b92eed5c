import { sql, type Sql } from '../database/sql.ts';

/** Replays give way to what happens now, where nobody asked for an order. Lower first. */
const replayPriority = 10;

/**
 * Writes a task for each row of `events`, rows of the log, and each subscription of `subscriptions` that reacts to
 * it. Those of one key of an ordered subscription are in the order of the log; keys come in the order in which all
 * take the locks of keys. `replay` is what brings them again.
 */
export function insertDeliveries(events: Sql, subscriptions: Sql, replay?: number): Sql {
  const again = replay === undefined ? sql.empty : sql` || jsonb_build_object('replay', ${replay}::bigint)`;
  const orderKey = sql`case when s.ordered then e.key end`;
  return sql`
    insert into plimsoll.task (id, kind, name, priority, max_attempts, order_key, on_park, correlation_id, causation_id, caller, payload)
    select gen_random_uuid(), 'delivery', s.name, ${replay === undefined ? 0 : replayPriority}::smallint, s.max_attempts, ${orderKey}, s.on_park,
      e.correlation_id, 'event:' || e.id, e.caller,
      jsonb_build_object('id', e.id::text, 'position', e.position, 'type', e.type, 'version', e.version, 'key', e.key, 'payload', e.payload)
        || case when e.erased_at is null then '{}' else '{"erased": true}'::jsonb end${again}
    from (${events}) e join (${subscriptions}) s on s.event_type = e.type
    order by plimsoll.order_lock(s.name, ${orderKey}), e.position`;
}
