import { sql, type Sql } from '../database/sql.ts';
import type { Caller } from '../kernel/context.ts';

export type TaskKind = 'job' | 'delivery' | 'saga';

/** A task to be written. */
export interface NewTask {
  readonly id: string;
  readonly kind: TaskKind;
  /** Whose handler runs it. */
  readonly name: string;
  /** JSON. */
  readonly payload: unknown;
  /** Run not before this many milliseconds from now. */
  readonly delayMs: number;
  readonly maxAttempts: number;
  readonly correlationId: string;
  readonly causationId: string | undefined;
  readonly caller: Caller;
}

/** A task that this worker has claimed: it alone may settle it, as long as `worker` and `attempt` are still so. */
export interface ClaimedTask {
  readonly id: string;
  readonly kind: TaskKind;
  readonly name: string;
  readonly payload: unknown;
  /** 1 for the first try. */
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly worker: number;
  readonly correlationId: string;
  readonly causationId: string | null;
  readonly caller: Caller;
  /** From when it was due to when it was claimed. */
  readonly lagMs: number;
}

/** Writes tasks; part of the caller's transaction. One JSON parameter, which is faster than a column each. */
export function insertTasks(tasks: readonly NewTask[]): Sql {
  return sql`
    insert into plimsoll.task (id, kind, name, payload, run_at, max_attempts, correlation_id, causation_id, caller)
    select (t->>'id')::uuid, t->>'kind', t->>'name', coalesce(t->'payload', 'null'),
           now() + (t->>'delayMs')::float8 * interval '1 millisecond', (t->>'maxAttempts')::int,
           t->>'correlationId', t->>'causationId', t->'caller'
    from jsonb_array_elements(${sql.json(tasks)}) t`;
}

/** `= any(array(…))` and not `in (…)`: it fences the subquery, so its limit is never evaluated twice. */
export function claimDue(worker: number, names: readonly string[], limit: number): Sql {
  return sql`
    update plimsoll.task set state = 'running', attempt = attempt + 1, worker = ${worker}, started_at = now()
    where id = any(array(
      select id from plimsoll.task where state = 'ready' and run_at <= now() and name = any(${names})
      order by run_at limit ${limit} for update skip locked))
    returning id, kind, name, payload, attempt, max_attempts as "maxAttempts", worker, correlation_id as "correlationId",
      causation_id as "causationId", caller, extract(epoch from now() - run_at)::float8 * 1000 as "lagMs"`;
}

/**
 * Ends a task, in the transaction that holds its effects. Returns one row when the task was still ours; none
 * means another worker has it, and this transaction must be rolled back.
 */
export function completeTask(task: ClaimedTask): Sql {
  return sql`
    delete from plimsoll.task
    where id = ${task.id} and worker = ${task.worker} and attempt = ${task.attempt} and state = 'running' returning 1`;
}

/** Sends a failed task back to be tried again after `delayMs`, or parks it after its last attempt. */
export function releaseFailed(task: ClaimedTask, error: unknown, delayMs: number): Sql {
  return sql`
    update plimsoll.task
    set state = case when attempt >= max_attempts then 'parked' else 'ready' end, worker = null,
        run_at = now() + ${delayMs}::float8 * interval '1 millisecond', last_error = ${sql.json(describeError(error))}
    where id = ${task.id} and worker = ${task.worker} and attempt = ${task.attempt} and state = 'running'
    returning state`;
}

/** Gives back what a stopping worker could not finish; the interrupted attempt does not count. */
export function releaseUnfinished(worker: number): Sql {
  return sql`
    update plimsoll.task set state = 'ready', worker = null, attempt = attempt - 1, run_at = now()
    where worker = ${worker} and state = 'running'`;
}

/** Parked tasks back to work, with all their attempts. */
export function unpark(name: string | undefined): Sql {
  return sql`
    update plimsoll.task set state = 'ready', attempt = 0, run_at = now()
    where state = 'parked' and (${name ?? null}::text is null or name = ${name ?? null})`;
}

function describeError(error: unknown): {
  readonly message: string;
  readonly code?: string;
  readonly stack?: string;
} {
  if (!(error instanceof Error)) return { message: String(error) };
  return {
    message: error.message.slice(0, 2_000),
    ...('code' in error && typeof error.code === 'string' ? { code: error.code } : {}),
    ...(error.stack === undefined ? {} : { stack: error.stack.slice(0, 4_000) }),
  };
}
