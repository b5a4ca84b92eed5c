import { sql, type Sql } from '../database/sql.ts';
import type { ClaimedTask } from './task.ts';

// What ends or gives back a task that was claimed. Each is fenced: no row means that another worker has it. The row is
// to be found by its id: `is not distinct from` uses no index.

const ours = (task: ClaimedTask): Sql =>
  sql`id = ${task.id} and worker is not distinct from ${task.worker} and attempt = ${task.attempt} and state = 'running'`;

/**
 * The same of many: by their ids for each worker and attempt, which are mostly one. `is not distinct from` keeps the
 * planner from looking each one up among all that runs: a join with their list took 20 µs for each, this takes 3.
 */
export function allOurs(tasks: readonly ClaimedTask[]): Sql {
  const alike = Map.groupBy(tasks, ({ worker, attempt }) => `${worker} ${attempt}`);
  return sql.join(
    [...alike.values()].map(
      (
        group,
      ) => sql`(id = any(${group.map(({ id }) => id)}::uuid[]) and worker is not distinct from ${group[0]?.worker}
        and attempt = ${group[0]?.attempt} and state is not distinct from 'running')`,
    ),
    sql` or `,
  );
}

/** Sends a failed task back to be tried again after `delayMs`, or parks it after its last attempt. */
export function releaseFailed(task: ClaimedTask, error: unknown, delayMs: number): Sql {
  return sql`
    update plimsoll.task
    set state = case when attempt >= max_attempts and cancel_reason is null then 'parked' else 'scheduled' end,
        worker = null, parked_at = case when attempt >= max_attempts and cancel_reason is null then now() end,
        run_at = now() + ${delayMs}::float8 * interval '1 millisecond', last_error = ${sql.json(describeError(error))}
    where ${ours(task)} returning state`;
}

/** Sends a task back that does not want to run yet; the attempt does not count. */
export function releaseSnoozed(task: ClaimedTask, delayMs: number): Sql {
  return sql`
    update plimsoll.task
    set state = 'scheduled', worker = null, attempt = attempt - 1,
        run_at = now() + ${delayMs}::float8 * interval '1 millisecond'
    where ${ours(task)} returning state`;
}

/** Ends a task for good that has no effect; a receipt of it says why. */
export function endCancelled(task: ClaimedTask, reason: string): Sql {
  return sql`
    with gone as (delete from plimsoll.task where ${ours(task)} returning id, kind, name, created_at, keep_result, correlation_id, causation_id),
      told as (${tellCancelled(reason)})
    select 'cancelled' as state from gone`;
}

/** A part of a statement with `gone`, the tasks that it has deleted. */
export function tellCancelled(reason: string): Sql {
  return sql`
    insert into plimsoll.job_receipt (id, name, accepted_at, outcome, reason, ended_at, correlation_id, causation_id)
    select id, name, created_at, 'cancelled', ${reason}, now(), correlation_id, causation_id from gone
    where kind = 'job' and (keep_result or exists (select from plimsoll.job_receipt r where r.id = gone.id))
    on conflict (id) do update set outcome = 'cancelled', reason = excluded.reason, ended_at = now()`;
}

/** Keeps the result of a job that is done; part of the transaction that ends it. */
export function keepResult(task: ClaimedTask, result: unknown): Sql {
  return sql`
    insert into plimsoll.job_receipt (id, name, outcome, result, ended_at, correlation_id, causation_id)
    values (${task.id}, ${task.name}, 'done', ${sql.json(result ?? null)}, now(), ${task.correlationId}, ${task.causationId})
    on conflict (id) do update set outcome = 'done', result = excluded.result, ended_at = now()`;
}

/** Gives back what a stopping worker could not finish; the interrupted attempt does not count. */
export function releaseUnfinished(worker: number): Sql {
  return sql`
    update plimsoll.task set state = 'ready', worker = null, attempt = attempt - 1, run_at = now()
    where worker = ${worker} and state = 'running'`;
}

/** Gives back what was claimed ahead and has not begun. */
export function releaseHeld(tasks: readonly ClaimedTask[]): Sql {
  return sql`
    update plimsoll.task set state = 'ready', worker = null, attempt = attempt - 1 where ${allOurs(tasks)}
    returning id`;
}

/** What a running task tells of itself. */
export function noteProgress(task: ClaimedTask, progress: unknown): Sql {
  return sql`
    update plimsoll.task set progress = ${sql.json(progress ?? null)}, heartbeat_at = now() where ${ours(task)}`;
}

export interface CancelRequest {
  readonly id: string;
  readonly attempt: number;
  readonly reason: string;
}

/** Which of these running tasks somebody wants to end. By their ids: an index of what runs may be full of what ran. */
export function cancelRequests(ids: readonly string[]): Sql {
  return sql`
    select id, attempt, cancel_reason as reason from plimsoll.task
    where id = any(${ids}::uuid[]) and state is not distinct from 'running' and cancel_reason is not null`;
}

/** What is kept of a failure: at most 2000 characters of its message and 4000 of its stack. */
export function describeError(error: unknown): {
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
