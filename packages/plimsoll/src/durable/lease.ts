import { hostname } from 'node:os';
import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { background } from '../kernel/channels.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import type { Clock } from '../kernel/clock.ts';

/** So long a worker is taken for alive after its last sign. */
export const leaseMs = 10_000;
const renewMs = 2_500;

export interface Lease {
  readonly worker: number;
  readonly kind: 'lease';
  /** Resolves when it was not renewed in time, or was given up. */
  readonly lost: Promise<void>;
  leave(): Promise<void>;
}

/**
 * Presence where no session is a worker's own: a row that it has to renew. A process that does not get to it in time,
 * because it is frozen or its event loop is blocked for that long, loses its tasks; what it still does is refused.
 */
export async function enterByLease(database: Database, clock: Clock): Promise<Lease> {
  const until = sql`clock_timestamp() + ${leaseMs}::float8 * interval '1 millisecond'`;
  const { id } = await database.one<{ id: number }>(sql`
    insert into plimsoll.worker (host, pid, lease_until) values (${hostname()}, ${process.pid}, ${until}) returning id`);
  const lost = Promise.withResolvers<void>();
  const left = new AbortController();

  async function keep(): Promise<void> {
    // Counted from before the statement was sent: the server's lease ends later.
    let renewedMs = clock.monotonicMs();
    while (!left.signal.aborted) {
      await clock.sleep(renewMs, left.signal).catch(() => undefined);
      if (left.signal.aborted) return;
      const sentMs = clock.monotonicMs();
      try {
        const renewed = await database.execute(sql`
          update plimsoll.worker set lease_until = ${until} where id = ${id} and lease_until > clock_timestamp()`);
        if (renewed === 0) return;
        renewedMs = sentMs;
      } catch (error) {
        background.publish({ scope: database.scope, what: 'renewing the lease of a worker', error });
        if (clock.monotonicMs() - renewedMs >= leaseMs) return;
      }
    }
  }
  void runInContext(createContext(), keep).finally(lost.resolve);

  return {
    worker: id,
    kind: 'lease',
    lost: lost.promise,
    async leave() {
      left.abort();
      // The next look removes a row that cannot be deleted now.
      await database.execute(sql`delete from plimsoll.worker where id = ${id}`).catch(() => undefined);
    },
  };
}
