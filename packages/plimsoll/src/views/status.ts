import { sql } from '../database/sql.ts';
import { tableColumns, type Databases, type ViewTable } from './tables.ts';

/** A table of a view, and how far it is behind the log. */
export interface ViewStatus extends ViewTable {
  /** The last position of the log. */
  readonly head: number;
  /** Positions of the log that are not applied, whether or not they hold events of the view. */
  readonly behind: number;
  /** Since when the oldest of them is there, in seconds; 0 when there is none. */
  readonly behindSeconds: number;
  readonly madeAt: Date;
  /** Of one that is being built, since it was made, on average and with its rests; else null. */
  readonly built: { readonly events: number; readonly eventsPerSecond: number } | null;
  readonly switchedAt: Date | null;
}

/** All tables of all views of the database, retired ones included, by view and version. */
export async function listViews({ database, log }: Databases): Promise<readonly ViewStatus[]> {
  const tables = await database.query<Omit<ViewStatus, 'head' | 'behind' | 'behindSeconds'>>(sql`
    select ${tableColumns}, made_at as "madeAt", switched_at as "switchedAt",
      case state when 'building' then json_build_object('events', position - from_position, 'eventsPerSecond',
        (position - from_position) / greatest(extract(epoch from clock_timestamp() - made_at), 0.001)) end as built
    from plimsoll.view_table
    order by schema_name, view_name, version, made_at`);
  const positions = tables.map(({ position }) => position);
  const lags = await log.query<{ head: number; seconds: number }>(sql`
    select s.position as head, greatest(0, coalesce(extract(epoch from clock_timestamp() - (
      select at from plimsoll.event e where e.position > p.position order by e.position limit 1)), 0))::float8 as seconds
    from plimsoll.sequencer s, unnest(${positions}::bigint[]) with ordinality as p (position, place) order by p.place`);
  return tables.map((table, index) => {
    const { head = table.position, seconds = 0 } = lags[index] ?? {};
    return { ...table, head, behind: Math.max(0, head - table.position), behindSeconds: seconds };
  });
}
