import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import { createLoop, type Loop } from '../durable/loop.ts';

export interface SubscriptionRecord {
  /** `orders.charge`: module and subscription; the name of its tasks. */
  readonly name: string;
  readonly module: string;
  readonly eventType: string;
  readonly maxAttempts: number;
}

export interface RelayOptions {
  readonly database: Database;
  /** All subscriptions of the modules that this process hosts; recorded at start. */
  readonly subscriptions: readonly SubscriptionRecord[];
  /** Modules that this process hosts: their recorded subscriptions that are no longer listed are removed. */
  readonly modules: readonly string[];
  /** How often to look when nobody wakes the relay. Default 250. */
  readonly pollMs?: number;
  /** Events per transaction. Default 1000. */
  readonly batch?: number;
  /** Called after events were moved; wake the workers here. */
  readonly onMoved?: () => void;
}

export const relayDefaults = { pollMs: 250, batch: 1_000 } as const;

/**
 * Moves committed events from the outbox to the log and makes a task for each subscription, all in one
 * transaction. It takes whatever rows are there, not rows after a cursor, so an event whose transaction
 * committed late is taken late and never skipped. One relay at a time does the work; the others find the
 * sequencer locked and leave.
 */
export function createRelay(options: RelayOptions): Loop {
  const { database } = options;
  const settings = { ...relayDefaults, ...options };

  async function round(): Promise<boolean> {
    const moved = await moveCommitted(database, settings.batch);
    if (moved > 0) options.onMoved?.();
    return moved === settings.batch;
  }

  return createLoop({
    name: 'outbox relay',
    scope: database.scope,
    pollMs: settings.pollMs,
    round,
    onStart: () => recordSubscriptions(database, options.subscriptions, options.modules),
  });
}

/** One transaction of the relay; returns how many events it moved. */
export async function moveCommitted(database: Database, batch: number): Promise<number> {
  // Most rounds find nothing; that look needs no transaction.
  const { waiting } = await database.one<{ waiting: boolean }>(
    sql`select exists (select 1 from plimsoll.outbox) as waiting`,
  );
  if (!waiting) return 0;
  return database.transaction(async (tx) => {
    const leading = await tx.maybeOne(sql`select 1 from plimsoll.sequencer for update skip locked`);
    if (leading === undefined) return 0;
    return (await tx.one<{ moved: number }>(moveStatement(batch))).moved;
  });
}

function moveStatement(batch: number): Sql {
  return sql`
    with taken as (
      delete from plimsoll.outbox
      where id = any(array(select id from plimsoll.outbox order by id limit ${batch})) returning *
    ), advanced as (
      update plimsoll.sequencer set position = position + (select count(*) from taken)
      returning position - (select count(*) from taken) as base
    ), logged as (
      insert into plimsoll.event (position, id, type, version, key, at, correlation_id, causation_id, caller, payload)
      select base + row_number() over (order by id), id, type, version, key, at, correlation_id, causation_id, caller, payload
      from taken, advanced
      returning *
    ), delivered as (
      insert into plimsoll.task (id, kind, name, max_attempts, correlation_id, causation_id, caller, payload)
      select gen_random_uuid(), 'delivery', s.name, s.max_attempts, e.correlation_id, 'event:' || e.id, e.caller,
             jsonb_build_object('id', e.id::text, 'position', e.position, 'type', e.type, 'version', e.version, 'key', e.key, 'payload', e.payload)
      from logged e join plimsoll.subscription s on s.event_type = e.type
    )
    select count(*)::int as moved from logged`;
}

function recordSubscriptions(
  database: Database,
  subscriptions: readonly SubscriptionRecord[],
  modules: readonly string[],
): Promise<void> {
  return database.transaction(async (tx) => {
    const names = subscriptions.map((subscription) => subscription.name);
    await tx.execute(
      sql`delete from plimsoll.subscription where module = any(${modules}) and not name = any(${names})`,
    );
    await tx.execute(sql`
      insert into plimsoll.subscription (name, module, event_type, max_attempts)
      select s->>'name', s->>'module', s->>'eventType', (s->>'maxAttempts')::int from jsonb_array_elements(${sql.json(subscriptions)}) s
      on conflict (name) do update set module = excluded.module, event_type = excluded.event_type, max_attempts = excluded.max_attempts`);
  });
}
