import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import { background } from '../kernel/channels.ts';
import type { Clock } from '../kernel/clock.ts';
import { PlimsollError } from '../kernel/errors.ts';

/** How long a task may be due before it is said that nobody takes it; also how often to look. */
const overdueMs = 60_000;

/**
 * Tells, in the background channel and once for each name, of tasks that wait because nobody seems to have a
 * handler for them: a misspelt name would otherwise stay `ready` for ever without a word. Other processes have
 * handlers too, so it first looks a minute after the first call, and passes over names that somebody runs.
 */
export function watchUnclaimed(
  database: Database,
  names: readonly string[],
  clock: Clock,
): () => Promise<void> {
  let lookedMs = clock.monotonicMs();
  const told = new Set<string>();
  return async () => {
    if (clock.monotonicMs() - lookedMs < overdueMs) return;
    lookedMs = clock.monotonicMs();
    for (const { name, tasks } of await database.query<{ name: string; tasks: number }>(unclaimed(names))) {
      if (told.has(name)) continue;
      told.add(name);
      const error = new PlimsollError(
        'PL_UNKNOWN_OPERATION',
        `${tasks} tasks of the name ${JSON.stringify(name)} have been due for more than ${overdueMs / 1_000} s, and no worker has tried one; this process handles ${names.join(', ') || 'none'}: correct the name, or run a worker that has its handler`,
        { data: { name, tasks } },
      );
      background.publish({ scope: database.scope, what: `waiting tasks of ${name}`, error });
    }
  };
}

/**
 * Goes from name to name over the index, and looks at no more than a thousand tasks of each, so that a long queue costs
 * no more than a short one.
 */
function unclaimed(names: readonly string[]): Sql {
  return sql`
    with recursive queued as (
      (select name from plimsoll.task where state = 'ready' order by name limit 1)
      union all
      select (select t.name from plimsoll.task t where t.state = 'ready' and t.name > queued.name order by t.name limit 1)
      from queued where queued.name is not null)
    select queued.name, overdue.tasks from queued cross join lateral (
      select count(*)::int as tasks, max(attempt) as attempts from (
        select attempt from plimsoll.task t
        where t.name = queued.name and t.state = 'ready' and run_at < now() - ${overdueMs}::float8 * interval '1 millisecond'
        limit 1000) waiting) overdue
    where queued.name is not null and not queued.name = any(${names}) and overdue.attempts = 0
      and not exists (select from plimsoll.task r where r.state = 'running' and r.name = queued.name)`;
}
