import { sql, type Sql } from '../database/sql.ts';
import { tellCancelled } from './settle.ts';

export type CancelAnswer =
  /** It had not begun, and is gone. */
  | { readonly state: 'cancelled' }
  /** It runs: its `signal` aborts within a second, and it ends unless its effect commits before. */
  | { readonly state: 'asked' };

/** Ends a task that has not ended, running or not; no row when there is none of that id. One row of {@link CancelAnswer}. */
export function cancelTask(id: string, reason: string): Sql {
  return sql`
    with found as (select id, state from plimsoll.task where id = ${id} for update),
      gone as (
        delete from plimsoll.task t using found
        where t.id = found.id and found.state <> 'running' returning t.id, kind, name, created_at, keep_result, correlation_id, causation_id),
      told as (${tellCancelled(reason)}),
      asked as (
        update plimsoll.task t set cancel_reason = ${reason} from found
        where t.id = found.id and found.state = 'running' returning 1)
    select case when found.state = 'running' then 'asked' else 'cancelled' end as state from found`;
}
