import { sql, type Sql } from '../database/sql.ts';

/** Which events of the log. Everything that is given must hold; what is not does not matter. */
export interface EventFilter {
  /** `orders.placed` */
  readonly type?: string | undefined;
  readonly key?: string | undefined;
  readonly correlationId?: string | undefined;
  /** First and last position, both included. */
  readonly fromPosition?: number | undefined;
  readonly toPosition?: number | undefined;
  /** Emitted at this time or later; ISO 8601. */
  readonly since?: string | undefined;
  /** Emitted before this time; ISO 8601. */
  readonly before?: string | undefined;
}

/** The condition on rows of `plimsoll.event`. */
export function matching(filter: EventFilter): Sql {
  const { type, key, correlationId, fromPosition, toPosition, since, before } = filter;
  const conditions = [
    ...(type === undefined ? [] : [sql`type = ${type}`]),
    ...(key === undefined ? [] : [sql`key = ${key}`]),
    ...(correlationId === undefined ? [] : [sql`correlation_id = ${correlationId}`]),
    ...(fromPosition === undefined ? [] : [sql`position >= ${fromPosition}`]),
    ...(toPosition === undefined ? [] : [sql`position <= ${toPosition}`]),
    ...(since === undefined ? [] : [sql`at >= ${since}::timestamptz`]),
    ...(before === undefined ? [] : [sql`at < ${before}::timestamptz`]),
  ];
  return conditions.length === 0 ? sql`true` : sql.join(conditions, sql` and `);
}

/** Whether an index finds the events, so that nothing is gained by looking at one stretch after the other. */
export function isSelective({ key, correlationId }: EventFilter): boolean {
  return key !== undefined || correlationId !== undefined;
}
