import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { coalesce } from './coalesce.ts';
import { allOurs } from './settle.ts';
import type { ClaimedTask } from './task.ts';

/**
 * Ends tasks whose handlers wrote nothing, many in one statement. Resolves with whether it was still ours. Not for
 * those of an order key, which take their locks one by one.
 */
export function createCompletions(database: Database): (task: ClaimedTask) => Promise<boolean> {
  return coalesce<ClaimedTask, boolean>(async (tasks) => {
    const ended = await database.query<{ id: string }>(
      sql`delete from plimsoll.task where ${allOurs(tasks)} returning id`,
    );
    const ours = new Set(ended.map(({ id }) => id));
    return tasks.map(({ id }) => ours.has(id));
  });
}
