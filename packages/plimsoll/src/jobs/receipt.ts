import type { Queryable } from '../database/statements.ts';
import { sql, type Sql } from '../database/sql.ts';
import { insertTasks, type NewTask } from '../durable/task.ts';
import { errorTable, type ErrorCode } from '../kernel/errors.ts';

/** What an outside client is told about a job that was accepted for it. */
export interface JobStatus {
  readonly jobId: string;
  /** The command's id. */
  readonly name: string;
  /** `failed` is parked: it will not be tried again by itself. */
  readonly state: 'queued' | 'running' | 'done' | 'failed';
  /** ISO 8601. */
  readonly acceptedAt: string;
  /** Tries begun so far; absent when it is done. */
  readonly attempts?: number;
  readonly maxAttempts?: number;
  readonly lastError?: { readonly code: string; readonly message: string };
}

/**
 * Writes the job and its receipt; one statement, so that there is never one without the other. With `recording`,
 * a statement that returns one row the first time, both are written only then: it affects 1 row or 0.
 */
export function acceptJob(job: NewTask, recording: Sql = sql`select 1`): Sql {
  return sql`
    with recorded as (${recording}),
      receipt as (
        insert into plimsoll.job_receipt (id, name)
        select ${job.id}::uuid, ${job.name} where exists (select from recorded))
    ${insertTasks([job])} where exists (select from recorded)`;
}

const uuid = /^[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}$/i;

interface Row {
  readonly name: string;
  readonly acceptedAt: Date;
  readonly state: string | null;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly lastError: { readonly message?: unknown; readonly code?: unknown } | null;
}

/**
 * State of an accepted job; undefined when there is no receipt of that id. A receipt without a task is a job
 * that is done: the task is deleted in the transaction that holds its effects. Ask the primary: a replica
 * may have seen neither.
 */
export async function jobStatus(
  database: Pick<Queryable, 'maybeOne'>,
  jobId: string,
): Promise<JobStatus | undefined> {
  if (!uuid.test(jobId)) return undefined;
  const row = await database.maybeOne<Row>(sql`
    select r.name, r.accepted_at as "acceptedAt", t.state, t.attempt, t.max_attempts as "maxAttempts",
      t.last_error as "lastError"
    from plimsoll.job_receipt r left join plimsoll.task t using (id) where r.id = ${jobId}`);
  if (row === undefined) return undefined;
  const known = { jobId, name: row.name, acceptedAt: row.acceptedAt.toISOString() };
  if (row.state === null) return { ...known, state: 'done' };
  return {
    ...known,
    state: row.state === 'parked' ? 'failed' : row.state === 'running' ? 'running' : 'queued',
    attempts: row.attempt,
    maxAttempts: row.maxAttempts,
    ...(row.lastError === null ? {} : { lastError: publicError(row.lastError) }),
  };
}

/**
 * Deletes the receipts of jobs that are done and were accepted longer ago than this; returns how many. From
 * then on their ids are unknown. Run it when you like; a receipt is some 100 bytes.
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
function publicError({ message, code }: NonNullable<Row['lastError']>): NonNullable<JobStatus['lastError']> {
  if (typeof code !== 'string' || !Object.hasOwn(errorTable, code))
    return { code: 'INTERNAL', message: 'Internal error; the log has the whole of it.' };
  const { status, summary } = errorTable[code as ErrorCode];
  const explained = status < 500 || code === 'PL_JOB_FAILED';
  return { code, message: explained && typeof message === 'string' ? message : summary };
}
