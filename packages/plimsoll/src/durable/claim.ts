import { sql, type Sql } from '../database/sql.ts';
import { rangesIn, readyIn, wholeLine } from './claim-floor.ts';

/** At most so many scheduled tasks become ready in one statement. */
export const promotedAtOnce = 1_000;

/** Of a `ClaimedTask`. */
const claimedColumns = sql`id, kind, name, priority, payload, attempt, max_attempts as "maxAttempts", worker, order_key as "orderKey",
      timeout_ms as "timeoutMs", keep_result as "keepResult", cancel_reason as "cancelReason",
      correlation_id as "correlationId", causation_id as "causationId", caller,
      date_part('epoch', now() - run_at) * 1000 as "lagMs"`;

/**
 * Claims ready tasks of these names, at most `limit` in all and `limits` of each: of each name the most urgent first, and of the names that whose
 * first task is most urgent, or has waited longest. One probe of an index for each name, however long their queues
 * are. `lines` is where to begin in each, see `ClaimFloor`. `= any(array(…))` and not `in (…)`: it fences the subquery,
 * so its limit is never evaluated twice.
 */
export function claimDue(
  worker: number,
  names: readonly string[],
  limit: number,
  limits: readonly number[] = names.map(() => limit),
  lines: readonly string[] = names.map(() => wholeLine),
): Sql {
  return sql`
    with claimed as (
      update plimsoll.task
      set state = 'running', attempt = attempt + 1, worker = ${worker}, started_at = now(), unique_key = null
      where id = any(array(
        select due.id from (
          select n.* from unnest(${names}::text[], ${limits}::int[], ${lines}::jsonb[]) n (name, most, ranges)
          cross join lateral (
            select head.* from ${rangesIn(sql`n.ranges`)} cross join lateral (
              select t.priority, t.run_at from plimsoll.task t where ${readyIn(sql`n.name`)}
              order by t.priority, t.run_at, t.seq limit 1) head
            limit 1) first
          order by first.priority, first.run_at) line
        cross join lateral (
          select ready.id from ${rangesIn(sql`line.ranges`)} cross join lateral (
            select t.id from plimsoll.task t where ${readyIn(sql`line.name`)}
            order by t.priority, t.run_at, t.seq limit line.most for update skip locked) ready
          limit line.most) due
        limit ${limit}))
      returning *)
    select ${claimedColumns} from claimed order by priority, run_at, seq`;
}

/** Claims at most `most` tasks of one name that has limits; see `QueueLimits`. */
export function claimWithinLimits(worker: number, name: string, most: number): Sql {
  return sql`select ${claimedColumns} from plimsoll.claim_within_limits(${name}, ${worker}, ${most})`;
}

export interface Promotion {
  readonly promoted: number;
  /** When the next one is due, from now; null when there is none. */
  readonly nextMs: number | null;
  /** Behind this nothing more is due, but for what a long transaction commits late. */
  readonly settled: string;
}

/** What is due from so long ago on may still be written by a transaction that is not a long one. */
const settledMs = 1_000;

/**
 * Makes scheduled tasks ready that are due, so that a claim never walks over those that are not. Of all names. With
 * `behind`, only of those that are due after that, and without walking over those that have been before.
 */
export function promoteDue(behind = '-infinity'): Sql {
  return sql`
    with promoted as (
      update plimsoll.task set state = 'ready'
      where id = any(array(
        select id from plimsoll.task where state = 'scheduled' and run_at <= now() and run_at > ${behind}::timestamptz
        order by run_at limit ${promotedAtOnce} for update skip locked))
      returning 1)
    select (select count(*) from promoted)::int as promoted,
      (select extract(epoch from run_at - now())::float8 * 1000 from plimsoll.task
       where state = 'scheduled' and run_at > now() order by run_at limit 1) as "nextMs",
      (now() - ${settledMs}::float8 * interval '1 millisecond')::text as settled`;
}
