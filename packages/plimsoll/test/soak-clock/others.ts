import pg from 'pg';
import { windowMs, type Answer, type Asked, type ProcessSettings } from './protocol.ts';

/** What is done elsewhere, by its documentation; for comparison. */
export interface Others {
  serve(asked: Asked): Promise<Answer>;
  counts(): { readonly reads: number; readonly onReplica: number };
  close(): Promise<void>;
}

const find = 'select version, history, note from kv where key = $1';
const raise = 'update kv set version = version + 1, note = $2, history = 0 where key = $1 returning version';

/**
 * `random`: each read on any replica, as the read replicas of Drizzle, Prisma and TypeORM do. `window in process`: who
 * wrote in this process within two seconds reads the primary, by a list in memory. `window in cookie`: the same
 * with the time of the write in a cookie, as Rails does.
 */
export function createOthers({ primaryUrl, replicaUrls }: ProcessSettings): Others {
  const open = (url: string): pg.Pool => {
    // Connections are made when one of these policies is asked for the first time.
    const pool = new pg.Pool({ connectionString: url, max: 6 });
    pool.on('error', () => undefined);
    pool.on('connect', (client) => client.on('error', () => undefined));
    return pool;
  };
  const primary = open(primaryUrl);
  const replicas = replicaUrls.map(open);
  const wroteAtMs = new Map<string, number>();
  /** Those that are no replica at the time. */
  const promoted = new Set<pg.Pool>();
  let [reads, onReplica] = [0, 0];

  async function read(key: string, onPrimary: boolean): Promise<Answer> {
    reads += 1;
    const able = replicas.filter((pool) => !promoted.has(pool));
    const chosen = onPrimary ? primary : (able[Math.floor(Math.random() * able.length)] ?? primary);
    if (chosen !== primary) onReplica += 1;
    const { rows } = await chosen.query<{ version: number; note: string }>(find, [key]);
    return { version: rows[0]?.version ?? 0, note: rows[0]?.note, level: 'session' };
  }

  let asked = false;
  async function whoIsReplica(): Promise<void> {
    if (asked) return;
    asked = true;
    for (const pool of replicas) {
      const { rows } = await pool.query<{ standby: boolean }>('select pg_is_in_recovery() as standby');
      if (rows[0]?.standby === false) promoted.add(pool);
    }
  }

  return {
    async serve({ policy, session, token, ...request }) {
      await whoIsReplica();
      const nowMs = Date.now();
      const lastMs = policy === 'window in process' ? wroteAtMs.get(session) : Number(token ?? 0);
      if (request.do === 'read')
        return await read(request.key, policy !== 'random' && nowMs - (lastMs ?? 0) < windowMs);
      if (request.do !== 'write') return {};
      const { rows } = await primary.query<{ version: number }>(raise, [request.key, request.note]);
      if (policy === 'window in process') wroteAtMs.set(session, Date.now());
      return {
        version: rows[0]?.version,
        token: policy === 'window in cookie' ? String(Date.now()) : undefined,
      };
    },
    counts: () => ({ reads, onReplica }),
    async close() {
      await Promise.allSettled([primary, ...replicas].map((pool) => pool.end()));
    },
  };
}
