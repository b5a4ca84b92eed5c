import { sql, type Sql } from '../database/sql.ts';
import type { Caller } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';

export type TaskKind = 'job' | 'delivery' | 'saga';

/** A task to be written. */
export interface NewTask {
  readonly id: string;
  readonly kind: TaskKind;
  /** Whose handler runs it. */
  readonly name: string;
  /** JSON. */
  readonly payload: unknown;
  /** Run not before this many milliseconds from now; without meaning where there is `runAt`. */
  readonly delayMs: number;
  /** Run not before this moment, by the clock of the database. Default: `delayMs` from now. */
  readonly runAt?: Date | undefined;
  readonly maxAttempts: number;
  /** Lower first, among tasks of one name; -32768 to 32767. Default 0. */
  readonly priority?: number | undefined;
  /**
   * Tasks of one name and order key run one at a time, in the order in which they were committed, through retries
   * and crashes too. Default: nobody waits for anybody.
   */
  readonly orderKey?: string | undefined;
  /** Whether a parked task holds up those behind it in its order key. Default `block`. */
  readonly onPark?: 'block' | 'skip' | undefined;
  /** Whom it is for, where a name has limits or turns by group. */
  readonly groupKey?: string | undefined;
  /** One of a name and key at most is not begun; for {@link insertUnique}. */
  readonly uniqueKey?: string | undefined;
  /** Time limit of one attempt. Default: that of its handler. */
  readonly timeoutMs?: number | undefined;
  /** Whether its result is kept after it is done. Default false. */
  readonly keepResult?: boolean | undefined;
  /** A worker that has a slot for it, and runs it when it is committed. Default: whoever claims it. */
  readonly worker?: number | undefined;
  readonly correlationId: string;
  readonly causationId: string | undefined;
  readonly caller: Caller;
}

/** A task that this worker has claimed: it alone may settle it, as long as `worker` and `attempt` are still so. */
export interface ClaimedTask {
  readonly id: string;
  readonly kind: TaskKind;
  readonly name: string;
  readonly priority: number;
  readonly payload: unknown;
  /** 1 for the first try. */
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly worker: number;
  readonly orderKey: string | null;
  readonly timeoutMs: number | null;
  readonly keepResult: boolean;
  /** Set when somebody asked to end it, and it came back before it did. */
  readonly cancelReason: string | null;
  readonly correlationId: string;
  readonly causationId: string | null;
  readonly caller: Caller;
  /** From when it was due to when it was claimed. */
  readonly lagMs: number;
}

/**
 * Writes tasks; part of the caller's transaction. One JSON parameter, which is faster than a column each. In the order
 * of the locks that order keys take, so that two writers of the same keys never wait for each other.
 */
export function insertTasks(tasks: readonly NewTask[], when: Sql = sql`true`): Sql {
  return sql`
    insert into plimsoll.task
      (id, kind, name, payload, state, priority, run_at, max_attempts, order_key, on_park, group_key, unique_key,
       timeout_ms, keep_result, correlation_id, causation_id, caller, worker, attempt, started_at)
    select (t->>'id')::uuid, t->>'kind', t->>'name', coalesce(t->'payload', 'null'),
           case when t ? 'worker' then 'running' when due > now() then 'scheduled' else 'ready' end, coalesce((t->>'priority')::smallint, 0),
           due, (t->>'maxAttempts')::int, t->>'orderKey', coalesce(t->>'onPark', 'block'),
           t->>'groupKey', t->>'uniqueKey', (t->>'timeoutMs')::int, coalesce((t->>'keepResult')::boolean, false),
           t->>'correlationId', t->>'causationId', t->'caller', (t->>'worker')::int, (t ? 'worker')::int,
           case when t ? 'worker' then now() end
    from jsonb_array_elements(${sql.json(tasks)}) with ordinality as list (t, place)
      cross join lateral (select coalesce(
        (t->>'runAt')::timestamptz, now() + (t->>'delayMs')::float8 * interval '1 millisecond') as due) at
    where ${when}
    order by plimsoll.order_lock(t->>'name', t->>'orderKey'), place`;
}

/** A task that was written as running in a worker. */
export function claimedBy(task: NewTask, worker: number): ClaimedTask {
  const { id, kind, name, payload, maxAttempts, correlationId, caller } = task;
  return {
    id,
    kind,
    name,
    payload,
    attempt: 1,
    maxAttempts,
    priority: task.priority ?? 0,
    worker,
    orderKey: task.orderKey ?? null,
    timeoutMs: task.timeoutMs ?? null,
    keepResult: task.keepResult ?? false,
    cancelReason: null,
    correlationId,
    causationId: task.causationId ?? null,
    caller,
    lagMs: 0,
  };
}

/** What becomes of a task whose key another one has that has not begun. */
export type OnDuplicate = 'keep' | 'replace' | 'debounce';

/**
 * Writes one task with a `uniqueKey`, unless one of its name and key is there that no worker has taken yet: that one is
 * kept as it is, gets the new payload (`replace`), or the new payload and time too (`debounce`). One row, with the id
 * of the task that is there now.
 */
export function insertUnique(task: NewTask, onDuplicate: OnDuplicate): Sql {
  const change =
    onDuplicate === 'keep'
      ? // Writes nothing new, and so returns the id of the row that is there.
        sql`payload = task.payload`
      : onDuplicate === 'replace'
        ? sql`payload = excluded.payload`
        : sql`payload = excluded.payload, run_at = excluded.run_at,
            state = case when task.state = 'waiting' then 'waiting' when excluded.run_at > now() then 'scheduled' else 'ready' end`;
  return sql`
    ${insertTasks([task])}
    on conflict (name, unique_key) where unique_key is not null and state in ('ready', 'scheduled', 'waiting')
    do update set ${change} returning id`;
}

/**
 * Takes the locks of order keys in the one order in which all take them: for a transaction that ends a task of one
 * key and writes tasks of others, before it does either.
 */
export function holdOrders(of: readonly { readonly name: string; readonly orderKey: string }[]): Sql {
  return sql`
    select plimsoll.hold_order(name, key) from (
      select t->>'name' as name, t->>'orderKey' as key from jsonb_array_elements(${sql.json(of)}) t
      order by plimsoll.order_lock(t->>'name', t->>'orderKey')) held`;
}

/**
 * Ends a task, in the transaction that holds its effects. Returns one row when the task was still ours; none
 * means another worker has it, and this transaction must be rolled back.
 */
export function completeTask(task: ClaimedTask): Sql {
  return sql`
    delete from plimsoll.task
    where id = ${task.id} and worker is not distinct from ${task.worker} and attempt = ${task.attempt} and state = 'running' returning 1`;
}

/** What a handler throws whose task is no longer its own: nothing of it may be committed. */
export function taskLost(task: ClaimedTask): PlimsollError {
  return new PlimsollError(
    'PL_TASK_LOST',
    `task ${task.name} ${task.id}, attempt ${task.attempt}: another worker has taken it over`,
  );
}
