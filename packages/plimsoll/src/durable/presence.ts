import { hostname } from 'node:os';
import type { Database } from '../database/database.ts';
import type { Session } from '../database/session.ts';
import { sql, type Sql } from '../database/sql.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { enterByLease } from './lease.ts';
import { wakeUpChannel } from './wake-up.ts';

/**
 * A worker is alive exactly as long as its session holds the advisory lock on its id: no heartbeat to write,
 * no timeout to guess, and a blocked event loop is not mistaken for a death. When the process dies, the
 * server ends the session and whoever looks next takes its tasks back. Behind a pooler, which gives the session to
 * others, a lease does it instead.
 */
export interface Presence {
  readonly worker: number;
  /** `lease` behind a pooler. */
  readonly kind: 'session' | 'lease';
  /** Resolves when the session has ended; from then on the tasks may belong to others. */
  readonly lost: Promise<void>;
  leave(): Promise<void>;
}

/** First key of the two-key advisory locks that mean "this worker lives"; any constant that all agree on. */
const lockClass = 1_886_152_041;

/**
 * How the server learns that the other end is gone without a word: a machine that froze or was cut off. Keepalives
 * after 5 s of silence, 2 s apart, given up after 3; what it sends itself is waited for as long.
 */
const connection = { idleS: 5, intervalS: 2, count: 3 } as const;
/** So long at most a machine that is gone is taken for a living worker. */
export const presenceBoundMs = (connection.idleS + connection.intervalS * connection.count) * 1_000;

/**
 * Row and lock in one statement: the row becomes visible only when the lock is held. `heard` is called when somebody
 * announces tasks.
 */
export async function enter(
  database: Database,
  heard: () => void = () => undefined,
  clock: Clock = systemClock,
): Promise<Presence> {
  const session = await database.session();
  try {
    if (await isPooled(session)) {
      await session.close();
      return await enterByLease(database, clock);
    }
    const { id } = await session.one<{ id: number }>(sql`
      with entered as (insert into plimsoll.worker (host, pid) values (${hostname()}, ${process.pid}) returning id),
        settings as (
          select set_config('tcp_keepalives_idle', ${String(connection.idleS)}, false),
            set_config('tcp_keepalives_interval', ${String(connection.intervalS)}, false),
            set_config('tcp_keepalives_count', ${String(connection.count)}, false),
            set_config('tcp_user_timeout', ${String(presenceBoundMs)}, false))
      select id, pg_advisory_lock(${lockClass}, id) from entered, settings`);
    await session.listen(wakeUpChannel, heard);
    return { worker: id, kind: 'session', lost: session.closed, leave: () => leave(session, id) };
  } catch (error) {
    await session.close();
    throw error;
  }
}

/** A pooler that speaks for the server tells a number of its own at the start; a proxy of bytes passes the server's on. */
async function isPooled(session: Session): Promise<boolean> {
  const { pid } = await session.one<{ pid: number }>(sql`select pg_backend_pid() as pid`);
  return pid !== session.processId;
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

export interface Reclaim {
  readonly reclaimed: number;
  /** Workers that live. */
  readonly alive: number;
}

/** Takes back the tasks of workers that no longer live. */
export function reclaimFromDead(database: Database): Promise<Reclaim> {
  return database.one<Reclaim>(sql`
    with dead as materialized (
      select id from plimsoll.worker
      where case when lease_until is null then pg_try_advisory_xact_lock(${lockClass}, id)
        else lease_until < clock_timestamp() end
    ), back as (${takeBack(sql`worker = any(array(select id from dead))`)}
    ), gone as (
      delete from plimsoll.worker where id in (select id from dead)
    )
    select (select count(*) from back)::int as reclaimed,
      (select count(*) from plimsoll.worker)::int - (select count(*) from dead)::int as alive`);
}

/**
 * Takes back the tasks whose worker is not even known any more: it claimed them after it was declared dead. Looks at
 * all that runs, which takes its time where the server cannot remove what ran.
 */
export function reclaimOrphans(
  database: Database,
): Promise<{ readonly reclaimed: number; readonly tookMs: number }> {
  return database.one(sql`
    with back as (${takeBack(sql`not exists (select 1 from plimsoll.worker w where w.id = worker)`)})
    select (select count(*) from back)::int as reclaimed,
      extract(epoch from clock_timestamp() - statement_timestamp())::float8 * 1000 as "tookMs"`);
}

/** The attempt stays counted, so a task that kills its process every time ends up parked. */
const takeBack = (whose: Sql): Sql => sql`
  update plimsoll.task
  set state = case when attempt >= max_attempts and cancel_reason is null then 'parked' else 'ready' end,
    parked_at = case when attempt >= max_attempts and cancel_reason is null then now() end,
    worker = null, run_at = now(), last_error = '{"message": "the worker process died"}'
  where state = 'running' and ${whose}
  returning 1`;
