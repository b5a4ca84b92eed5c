import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import type { Caller } from '../kernel/context.ts';
import { matching, type EventFilter } from './event-filter.ts';

/** An event of the log. */
export interface LoggedEvent {
  readonly position: number;
  readonly id: number;
  readonly type: string;
  readonly version: number;
  readonly key: string | null;
  /** Whose personal data it holds or held. */
  readonly subject: string | null;
  /** When it was emitted; ISO 8601. */
  readonly at: string;
  readonly correlationId: string;
  readonly causationId: string | null;
  /** The command or subscription that emitted it; null when code outside of modules did. */
  readonly operation: string | null;
  readonly caller: Caller;
  readonly payload: unknown;
  /** When the personal data was taken out. */
  readonly erasedAt: string | null;
}

/** Events of the log, the newest first; at most `limit`. Ordered by the column and not by what is shown of it, which has no index. */
export function listEvents(db: Queryable, filter: EventFilter, limit: number): Promise<LoggedEvent[]> {
  return db.query<LoggedEvent>(sql`
    select position::float8, id::float8, type, version, key, subject, to_json(at)#>>'{}' as at, correlation_id as "correlationId",
      causation_id as "causationId", operation, caller, payload, to_json(erased_at)#>>'{}' as "erasedAt"
    from plimsoll.event e where ${matching(filter)} order by e.position desc limit ${limit}`);
}

/** The stretch of the log that is kept; undefined when there is no event. */
export function logBounds(
  db: Queryable,
): Promise<{ readonly first: number; readonly last: number } | undefined> {
  return db.maybeOne(sql`
    select first, last from (select min(position)::float8 as first, max(position)::float8 as last from plimsoll.event) bounds
    where first is not null`);
}
