import type { Database } from '../database/database.ts';
import { replayParked } from '../durable/dead-letters.ts';
import { sql, type Sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';

/** A delivery that failed on its last attempt, and that somebody has to decide about. */
export interface ParkedDelivery {
  /** Of its task. */
  readonly id: string;
  readonly subscription: string;
  readonly position: number;
  readonly type: string;
  readonly key: string | null;
  readonly attempts: number;
  readonly error: string | null;
  /** Later deliveries of its key that wait for the decision. */
  readonly waiting: number;
  /** ISO 8601. */
  readonly parkedAt: string;
  readonly correlationId: string;
}

/** Which of them; everything that is given must hold. */
export interface ParkedFilter {
  readonly id?: string | undefined;
  readonly subscription?: string | undefined;
  readonly key?: string | undefined;
}

/** The oldest first, at most `limit`. */
export function parkedDeliveries(
  db: Queryable,
  filter: ParkedFilter,
  limit: number,
): Promise<ParkedDelivery[]> {
  return db.query<ParkedDelivery>(sql`
    select id, name as subscription, (payload->>'position')::float8 as position, payload->>'type' as type, payload->>'key' as key,
      attempt as attempts, last_error->>'message' as error, to_json(parked_at)#>>'{}' as "parkedAt", correlation_id as "correlationId", (
        select count(*)::int from plimsoll.task w
        where w.name = task.name and w.order_key = task.order_key and w.state = 'waiting' and task.on_park = 'block') as waiting
    from plimsoll.task where ${chosen(filter)} order by seq limit ${limit}`);
}

/** Tries parked deliveries again, with all their attempts. How many. */
export async function retryParked(db: Queryable, filter: ParkedFilter): Promise<number> {
  const rows = await db.query<{ id: string }>(sql`select id from plimsoll.task where ${chosen(filter)}`);
  return db.execute(replayParked({ ids: rows.map(({ id }) => id) }));
}

/**
 * Ends parked deliveries without their effect, and lets those that wait behind them go; who decided so and why stays
 * in the inbox. How many.
 */
export function skipParked(
  database: Database,
  filter: ParkedFilter,
  decision: { readonly by: string; readonly why: string },
): Promise<number> {
  return database.execute(sql`
    with skipped as (delete from plimsoll.task where ${chosen(filter)} returning name, payload, last_error)
    insert into plimsoll.inbox (subscription, position, replay, outcome, note)
    select name, (payload->>'position')::bigint, coalesce((payload->>'replay')::bigint, 0), 'skipped',
      jsonb_build_object('by', ${decision.by}::text, 'why', ${decision.why}::text, 'error', last_error->>'message')
    from skipped`);
}

function chosen({ id, subscription, key }: ParkedFilter): Sql {
  return sql.join(
    [
      sql`kind = 'delivery' and state = 'parked'`,
      ...(id === undefined ? [] : [sql`id = ${id}::uuid`]),
      ...(subscription === undefined ? [] : [sql`name = ${subscription}`]),
      ...(key === undefined ? [] : [sql`payload->>'key' = ${key}`]),
    ],
    sql` and `,
  );
}
