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

/** Looks at the thousand that wait longest, so that a long queue costs no more than a short one. */
function unclaimed(names: readonly string[]): Sql {
  return sql`
    select name, count(*)::int as tasks from (
      select name, attempt from plimsoll.task
      where state = 'ready' and run_at < now() - ${overdueMs}::float8 * interval '1 millisecond'
      order by run_at limit 1000) waiting
    where not name = any(${names})
      and not exists (select from plimsoll.task r where r.state = 'running' and r.name = waiting.name)
    group by name having max(attempt) = 0`;
}
