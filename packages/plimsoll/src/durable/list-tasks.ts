import { sql, type Sql } from '../database/sql.ts';
import type { TaskKind } from './task.ts';

export const taskStates = ['ready', 'running', 'scheduled', 'waiting', 'parked'] as const;
export type TaskState = (typeof taskStates)[number];

/** What there is to do of one name. */
export interface TaskCountsOfName {
  readonly name: string;
  readonly kind: TaskKind;
  readonly ready: number;
  readonly running: number;
  readonly scheduled: number;
  /** Behind others of their order keys. */
  readonly waiting: number;
  readonly parked: number;
  /** How long the one that is due and was due first has been so, milliseconds; 0 when none is. */
  readonly lateMs: number;
  readonly paused: boolean;
}

export function countTasksByName(kinds: readonly TaskKind[]): Sql {
  return sql`
    select t.name, t.kind,
      count(*) filter (where state = 'ready')::int as ready,
      count(*) filter (where state = 'running')::int as running,
      count(*) filter (where state = 'scheduled')::int as scheduled,
      count(*) filter (where state = 'waiting')::int as waiting,
      count(*) filter (where state = 'parked')::int as parked,
      greatest(0, coalesce(extract(epoch from now() - min(run_at) filter (where state = 'ready')), 0) * 1000)::float8 as "lateMs",
      coalesce(bool_or(q.paused), false) as paused
    from plimsoll.task t left join plimsoll.task_queue q on q.name = t.name
    where t.kind = any(${kinds}) group by t.name, t.kind order by t.name`;
}

/** Which tasks that have not ended: those for which everything given holds. */
export interface TaskFilter {
  readonly kind?: TaskKind;
  readonly id?: string;
  readonly name?: string;
  readonly state?: TaskState;
  readonly orderKey?: string;
  readonly correlationId?: string;
}

/** A task that has not ended. */
export interface TaskDetails {
  readonly id: string;
  readonly kind: TaskKind;
  readonly name: string;
  readonly state: TaskState;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly priority: number;
  readonly runAt: Date;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly worker: number | null;
  readonly orderKey: string | null;
  readonly groupKey: string | null;
  readonly payload: unknown;
  readonly progress: unknown;
  readonly lastError: { readonly message: string; readonly code?: string; readonly stack?: string } | null;
  readonly correlationId: string;
  readonly causationId: string | null;
}

/** In the order in which they are due; at most `limit`. */
export function listTasks(filter: TaskFilter, limit: number): Sql {
  const { kind, id, name, state, orderKey, correlationId } = filter;
  const conditions = [
    sql`true`,
    kind && sql`kind = ${kind}`,
    id === undefined ? undefined : sql`id = ${id}::uuid`,
    name === undefined ? undefined : sql`name = ${name}`,
    state && sql`state = ${state}`,
    orderKey === undefined ? undefined : sql`order_key = ${orderKey}`,
    correlationId === undefined ? undefined : sql`correlation_id = ${correlationId}`,
  ].filter((condition) => condition !== undefined);
  return sql`
    select id, kind, name, state, attempt, max_attempts as "maxAttempts", priority, run_at as "runAt",
      created_at as "createdAt", started_at as "startedAt", worker, order_key as "orderKey", group_key as "groupKey",
      payload, progress, last_error as "lastError", correlation_id as "correlationId", causation_id as "causationId"
    from plimsoll.task where ${sql.join(conditions, sql` and `)} order by run_at, seq limit ${limit}`;
}
