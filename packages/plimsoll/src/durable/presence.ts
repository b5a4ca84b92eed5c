import { hostname } from 'node:os';
import type { Database } from '../database/database.ts';
import type { Session } from '../database/session.ts';
import { sql } from '../database/sql.ts';

/**
 * A worker is alive exactly as long as its session holds the advisory lock on its id: no heartbeat to write,
 * no timeout to guess, and a blocked event loop is not mistaken for a death. When the process dies, the
 * server ends the session and whoever looks next takes its tasks back.
 */
export interface Presence {
  readonly worker: number;
  /** Resolves when the session has ended; from then on the tasks may belong to others. */
  readonly lost: Promise<void>;
  leave(): Promise<void>;
}

/** First key of the two-key advisory locks that mean "this worker lives"; any constant that all agree on. */
const lockClass = 1_886_152_041;

/** Row and lock in one statement: the row becomes visible only when the lock is held. */
export async function enter(database: Database): Promise<Presence> {
  const session = await database.session();
  try {
    const { id } = await session.one<{ id: number }>(sql`
      with entered as (insert into plimsoll.worker (host, pid) values (${hostname()}, ${process.pid}) returning id)
      select id, pg_advisory_lock(${lockClass}, id) from entered`);
    return { worker: id, lost: session.closed, leave: () => leave(session, id) };
  } catch (error) {
    await session.close();
    throw error;
  }
}

async function leave(session: Session, worker: number): Promise<void> {
  try {
    await session.execute(sql`delete from plimsoll.worker where id = ${worker}`);
  } catch {
    // A session that is gone already cannot say goodbye; the next sweep removes the row.
  } finally {
    await session.close();
  }
}

/**
 * Takes back the tasks of workers that no longer live. A task whose worker row is gone is an orphan of a
 * claim made after its worker was declared dead. The attempt stays counted, so a task that kills its process
 * every time ends up parked.
 */
export async function reclaimFromDead(database: Database): Promise<number> {
  const { reclaimed } = await database.one<{ reclaimed: number }>(sql`
    with dead as materialized (
      select id from plimsoll.worker where pg_try_advisory_xact_lock(${lockClass}, id)
    ), back as (
      update plimsoll.task set state = case when attempt >= max_attempts then 'parked' else 'ready' end,
        worker = null, run_at = now(), last_error = '{"message": "the worker process died"}'
      where state = 'running'
        and (worker in (select id from dead) or not exists (select 1 from plimsoll.worker w where w.id = worker))
      returning 1
    ), gone as (
      delete from plimsoll.worker where id in (select id from dead)
    )
    select count(*)::int as reclaimed from back`);
  return reclaimed;
}
