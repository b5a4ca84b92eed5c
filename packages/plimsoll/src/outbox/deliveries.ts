import { sql, type Sql } from '../database/sql.ts';

/**
 * Writes a task for each row of `events`, rows of the log, and each subscription of `subscriptions` that reacts to
 * it, in the order of the log. `replay` is what brings them again.
 */
export function insertDeliveries(events: Sql, subscriptions: Sql, replay?: number): Sql {
  const again = replay === undefined ? sql.empty : sql` || jsonb_build_object('replay', ${replay}::bigint)`;
  return sql`
    insert into plimsoll.task (id, kind, name, max_attempts, correlation_id, causation_id, caller, payload)
    select gen_random_uuid(), 'delivery', s.name, s.max_attempts, e.correlation_id, 'event:' || e.id, e.caller,
      jsonb_build_object('id', e.id::text, 'position', e.position, 'type', e.type, 'version', e.version, 'key', e.key, 'payload', e.payload)
        || case when e.erased_at is null then '{}' else '{"erased": true}'::jsonb end${again}
    from (${events}) e join (${subscriptions}) s on s.event_type = e.type
    order by e.position`;
}
