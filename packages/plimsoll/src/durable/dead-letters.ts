import { sql, type Sql } from '../database/sql.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import type { TaskKind } from './task.ts';

/** Which parked tasks: those for which everything given holds. */
export interface ParkedFilter {
  readonly ids?: readonly string[];
  readonly kind?: TaskKind;
  /** The command's id, or `module.subscription`. */
  readonly name?: string;
  readonly orderKey?: string;
  /** `PL_DEADLINE`: the code of the last error. */
  readonly errorCode?: string;
  readonly correlationId?: string;
  readonly parkedAfter?: Date;
  readonly parkedBefore?: Date;
}

/** A task that was given up. It keeps all that is needed to run it again. */
export interface DeadLetter {
  readonly id: string;
  readonly kind: TaskKind;
  readonly name: string;
  readonly payload: unknown;
  readonly attempts: number;
  readonly error: { readonly message: string; readonly code?: string; readonly stack?: string } | null;
  readonly parkedAt: Date;
  readonly createdAt: Date;
  readonly orderKey: string | null;
  /** How many wait behind it in its order key. */
  readonly waiting: number;
  readonly correlationId: string;
  readonly causationId: string | null;
}

/** Dead letters, the newest first; at most `limit`, by default 100. */
export function listParked(filter: ParkedFilter, limit = 100): Sql {
  return sql`
    select id, kind, name, payload, attempt as attempts, last_error as error, parked_at as "parkedAt",
      created_at as "createdAt", order_key as "orderKey", correlation_id as "correlationId",
      causation_id as "causationId", (
        select count(*)::int from plimsoll.task w
        where w.name = task.name and w.order_key = task.order_key and w.state = 'waiting' and task.on_park = 'block'
      ) as waiting
    from plimsoll.task where ${parked(filter)} order by parked_at desc limit ${limit}`;
}

/**
 * Parked tasks back to work, with all their attempts; one that others have passed waits behind the present head of
 * its order key. `{}` is all of them. The number of rows is how many.
 */
export function replayParked(filter: ParkedFilter): Sql {
  return sql`
    update plimsoll.task
    set state = case when order_key is not null and on_park = 'skip' then 'waiting' else 'ready' end,
        attempt = 0, run_at = now(), parked_at = null
    where id = any(array(select id from plimsoll.task where ${parked(filter)} order by seq for update skip locked))`;
}

/**
 * Deletes parked tasks for good; what waits behind them goes on. The number of rows is how many. PL_CONFIG without any
 * condition: all of them are never meant.
 */
export function discardParked(filter: ParkedFilter): Sql {
  assertSomeFilter(filter);
  return sql`
    delete from plimsoll.task
    where id = any(array(select id from plimsoll.task where ${parked(filter)} order by seq for update skip locked))`;
}

/** PL_CONFIG without any condition. */
export function assertSomeFilter(filter: ParkedFilter): void {
  if (Object.values(filter).every((value) => value === undefined)) {
    throwIfProblems('discard', [
      { path: 'filter', message: 'is empty; say which: ids, name, errorCode, parkedBefore and so on' },
    ]);
  }
}

function parked(filter: ParkedFilter): Sql {
  const { ids, kind, name, orderKey, errorCode, correlationId, parkedAfter, parkedBefore } = filter;
  const conditions = [
    sql`state = 'parked'`,
    ids && sql`id = any(${ids}::uuid[])`,
    kind && sql`kind = ${kind}`,
    name === undefined ? undefined : sql`name = ${name}`,
    orderKey === undefined ? undefined : sql`order_key = ${orderKey}`,
    errorCode === undefined ? undefined : sql`last_error->>'code' = ${errorCode}`,
    correlationId === undefined ? undefined : sql`correlation_id = ${correlationId}`,
    parkedAfter && sql`parked_at > ${parkedAfter}`,
    parkedBefore && sql`parked_at < ${parkedBefore}`,
  ].filter((condition) => condition !== undefined);
  return sql.join(conditions, sql` and `);
}
