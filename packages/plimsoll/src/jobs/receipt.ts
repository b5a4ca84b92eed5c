import type { Queryable } from '../database/statements.ts';
import { sql, type Sql } from '../database/sql.ts';
import { insertTasks, type NewTask } from '../durable/task.ts';
import { errorTable, type ErrorCode } from '../kernel/errors.ts';

/** What an outside client is told about a job. */
export interface JobStatus {
  readonly jobId: string;
  /** The command's id. */
  readonly name: string;
  /** `failed` is parked: it will not be tried again by itself. */
  readonly state: 'queued' | 'running' | 'done' | 'failed' | 'cancelled';
  /** ISO 8601. */
  readonly acceptedAt: string;
  /** Tries begun so far; absent when it has ended. */
  readonly attempts?: number;
  readonly maxAttempts?: number;
  readonly lastError?: { readonly code: string; readonly message: string };
  /** What its handler told last. */
  readonly progress?: unknown;
  /** Of a job that is done and was enqueued with `keepResult`. */
  readonly result?: unknown;
  /** Why it was cancelled. */
  readonly reason?: string;
}

/**
 * Writes the job and its receipt; one statement, so that there is never one without the other. With `recording`,
 * a statement that returns one row the first time, both are written only then: it affects 1 row or 0.
 */
export function acceptJob(job: NewTask, recording: Sql = sql`select 1`): Sql {
  return sql`
    with recorded as (${recording}),
      receipt as (
        insert into plimsoll.job_receipt (id, name, correlation_id, causation_id)
        select ${job.id}::uuid, ${job.name}, ${job.correlationId}, ${job.causationId ?? null} where exists (select from recorded))
    ${insertTasks([job], sql`exists (select from recorded)`)}`;
}

/** What ids of ours look like; anything else is the id of no job. */
export const jobIdPattern = /^[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}$/i;

interface Row {
  readonly name: string;
  readonly acceptedAt: Date;
  readonly outcome: 'done' | 'cancelled' | null;
  readonly result: unknown;
  readonly reason: string | null;
  readonly state: string | null;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly progress: unknown;
  readonly lastError: { readonly message?: unknown; readonly code?: unknown } | null;
}

/**
 * State of a job that has not ended, or that left a receipt: because it was accepted for a client, or its result is
 * kept. Undefined when there is neither. A receipt that says nothing, without a task, is of a job that is done: the
 * task is deleted in the transaction that holds its effects. Ask the primary: a replica may have seen neither.
 */
export async function jobStatus(
  database: Pick<Queryable, 'maybeOne'>,
  jobId: string,
): Promise<JobStatus | undefined> {
  if (!jobIdPattern.test(jobId)) return undefined;
  const row = await database.maybeOne<Row>(sql`
    select coalesce(t.name, r.name) as name, coalesce(r.accepted_at, t.created_at) as "acceptedAt",
      r.outcome, r.result, r.reason, t.state, t.attempt, t.max_attempts as "maxAttempts", t.progress,
      t.last_error as "lastError"
    from (select ${jobId}::uuid as id) asked
      left join plimsoll.job_receipt r using (id) left join plimsoll.task t on t.id = asked.id and t.kind = 'job'
    where r.id is not null or t.id is not null`);
  if (row === undefined) return undefined;
  const known = { jobId, name: row.name, acceptedAt: row.acceptedAt.toISOString() };
  if (row.state === null) {
    if (row.outcome === 'cancelled') return { ...known, state: 'cancelled', reason: row.reason ?? '' };
    return { ...known, state: 'done', ...(row.outcome === null ? {} : { result: row.result }) };
  }
  return {
    ...known,
    state: row.state === 'parked' ? 'failed' : row.state === 'running' ? 'running' : 'queued',
    attempts: row.attempt,
    maxAttempts: row.maxAttempts,
    ...(row.progress === null ? {} : { progress: row.progress }),
    ...(row.lastError === null ? {} : { lastError: publicError(row.lastError) }),
  };
}

/**
 * Deletes the receipts of jobs that have ended and were accepted longer ago than this; returns how many. From
 * then on their ids are unknown. Run it when you like; a receipt without a result is some 100 bytes.
 */
export async function forgetReceipts(
  database: Pick<Queryable, 'execute'>,
  olderThanMs: number,
): Promise<number> {
  return database.execute(sql`
    delete from plimsoll.job_receipt r
    where accepted_at < now() - ${olderThanMs}::float8 * interval '1 millisecond'
      and not exists (select from plimsoll.task t where t.id = r.id)`);
}

/** As over HTTP: an error below 500 and a declared one are explained, of any other only the code is told. */
export function publicError({
  message,
  code,
}: NonNullable<Row['lastError']>): NonNullable<JobStatus['lastError']> {
  if (typeof code !== 'string' || !Object.hasOwn(errorTable, code))
    return { code: 'INTERNAL', message: 'Internal error; the log has the whole of it.' };
  const { status, summary } = errorTable[code as ErrorCode];
  const explained = status < 500 || code === 'PL_JOB_FAILED';
  return { code, message: explained && typeof message === 'string' ? message : summary };
}
