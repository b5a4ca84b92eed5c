import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { background } from '../kernel/channels.ts';
import { coalesce } from './coalesce.ts';

/** On which workers of all processes hear that there are tasks. */
export const wakeUpChannel = 'plimsoll_task';

/**
 * Tells the workers of other processes, after a commit and never in its transaction: a commit that notifies holds a
 * lock of the whole server for as long as its log takes to be written. One notification is under way at a time, and
 * those asked for meanwhile are one. Workers that hear none look by themselves.
 */
export function createWakeUp(database: Database): () => void {
  const tell = coalesce<undefined, undefined>(
    async (asked) => {
      await database.query(sql`select pg_notify(${wakeUpChannel}, '')`);
      return asked;
    },
    { maxItems: Infinity },
  );
  return () => {
    tell(undefined).catch((error: unknown) =>
      background.publish({ scope: database.scope, what: 'waking the workers of other processes', error }),
    );
  };
}
