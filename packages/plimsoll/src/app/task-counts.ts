import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';

/** Durable work by state. */
export interface TaskCounts {
  readonly outbox: number;
  readonly ready: number;
  readonly running: number;
  /** Not due yet: delayed, or to be tried again. */
  readonly scheduled: number;
  /** Behind another one of their order key. */
  readonly waiting: number;
  readonly parked: number;
}

export function countTasks(db: Queryable): Promise<TaskCounts> {
  return db.one<TaskCounts>(sql`
    select (select count(*) from plimsoll.outbox)::int as outbox,
      count(*) filter (where state = 'ready')::int as ready,
      count(*) filter (where state = 'running')::int as running,
      count(*) filter (where state = 'scheduled')::int as scheduled,
      count(*) filter (where state = 'waiting')::int as waiting,
      count(*) filter (where state = 'parked')::int as parked
    from plimsoll.task`);
}
