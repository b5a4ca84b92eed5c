import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { startProcess, type ServingProcess } from '../../packages/plimsoll/test/soak-clock/child-process.ts';
import { replicaReads } from '../../packages/plimsoll/test/soak-clock/lag-table.ts';
import { policies, windowMs, type Policy } from '../../packages/plimsoll/test/soak-clock/protocol.ts';
import { keys, startServers, type Servers } from '../../packages/plimsoll/test/soak-clock/servers.ts';
import { rowOf, type Row } from '../report.ts';

/** Of one policy at one lag. */
export interface LagCell {
  readonly lagMs: number;
  readonly policy: Policy;
  readonly reads: number;
  readonly onReplica: number;
  /** Reads that followed a write of theirs, 15 ms later, and how many of them did not show it. */
  readonly firstReads: number;
  readonly firstStale: number;
  /** How many of all reads did not show the last write of their session to that key. */
  readonly stale: number;
}

const lagsMs = [0, 50, 500, 3_000];
const sessionCount = 120;
const thinkMs = 400;
const readAfterMs = 15;
const readShare = 0.9;
const longestCellMs = 5_000;
const shortestCellMs = 2_000;
const settleMs = 500;
const startMs = 30_000;
/** What all cells take. */
export const lagCellsMs: number = startMs + lagsMs.length * policies.length * (settleMs + longestCellMs);

const names: Readonly<Record<Policy, string>> = {
  routed: 'plimsoll, session',
  'window in token': 'plimsoll, window',
  random: 'random replica',
  'window in process': 'window in the process',
  'window in cookie': 'window in a cookie',
};

export const lagSettings: Readonly<Record<string, string>> = {
  lag: `${sessionCount} sessions, each request served by one of two processes; ${readShare * 100} % reads, half of them of what the session wrote last, pauses of ${thinkMs} ms on average (exponential), a read of the same row ${readAfterMs} ms after each write; two replicas, delayed by recovery_min_apply_delay; lag 0 is what it is on loopback`,
  [names.routed]: 'the default level; the lag budget is 10 s, so that a late replica stays in the rotation',
  [names['window in token']]: `the level window with windowMs ${windowMs}, and the same lag budget`,
  [names.random]: 'any replica, as withReplicas of Drizzle and the read replica extension of Prisma do',
  [names['window in process']]: `the primary for ${windowMs} ms after a write in the same process`,
  [names['window in cookie']]: `the primary for ${windowMs} ms after a write, whose time is in a cookie`,
};

/** What each policy gives away and gets wrong, by how late replicas are. */
export async function lagCells(
  timeLeftMs: () => number,
  say: (line: string) => void,
): Promise<readonly LagCell[]> {
  await using stack = new AsyncDisposableStack();
  const servers = await startServers(stack, (line) => say(`bench: ${line}`));
  const secret = randomBytes(32).toString('hex');
  const processes = await Promise.all(
    [1, 2].map((number) =>
      startProcess({
        number,
        primaryUrl: servers.primaryUrl,
        replicaUrls: servers.all.map(({ url }) => url),
        redisUrl: undefined,
        cacheUrl: servers.primaryUrl,
        secret,
      }),
    ),
  );
  for (const each of processes) stack.defer(() => each.stop());
  const cells: LagCell[] = [];
  const count = lagsMs.length * policies.length;
  for (const lagMs of lagsMs) {
    await setLag(servers, lagMs);
    for (const policy of policies) {
      const shareMs = timeLeftMs() / (count - cells.length) - settleMs;
      const cellMs = Math.max(shortestCellMs, Math.min(longestCellMs, shareMs));
      cells.push(await cellOf(processes, lagMs, policy, cellMs));
      say(`bench: lag ${lagMs} ms, ${policy}`);
    }
  }
  await setLag(servers, 0);
  return cells;
}

async function setLag(servers: Servers, lagMs: number): Promise<void> {
  await Promise.all(servers.standbys().map((standby) => standby.lag(lagMs)));
}

async function cellOf(
  processes: readonly ServingProcess[],
  lagMs: number,
  policy: Policy,
  cellMs: number,
): Promise<LagCell> {
  const counts = { firstReads: 0, firstStale: 0, stale: 0 };
  const end = performance.now() + settleMs + cellMs;
  // What is counted begins when the pools are open and the replicas as late as they are to be.
  const began = delay(settleMs).then(() => replicaReads(processes, policy));
  const countFrom = performance.now() + settleMs;
  const session = async (name: string): Promise<void> => {
    const wrote = new Map<string, number>();
    let [token, lastKey]: [string | undefined, string | undefined] = [undefined, undefined];
    const ask = async (request: Parameters<ServingProcess['ask']>[0]): Promise<number> => {
      const process = processes[Math.floor(Math.random() * processes.length)];
      const answer = await process?.ask(request, { session: name, token, policy });
      if (answer?.error !== undefined) throw new Error(`${policy}: ${answer.error}`);
      token = answer?.token ?? token;
      return answer?.version ?? 0;
    };
    const isStale = async (key: string): Promise<boolean> => {
      const stale = (await ask({ do: 'read', key, path: 'database' })) < (wrote.get(key) ?? 0);
      if (stale && performance.now() > countFrom) counts.stale += 1;
      return stale;
    };
    while (performance.now() < end) {
      await delay(-Math.log(1 - Math.random()) * thinkMs);
      const anyKey = `k${Math.floor(Math.random() * keys)}`;
      if (Math.random() < readShare) {
        await isStale(lastKey !== undefined && Math.random() < 0.5 ? lastKey : anyKey);
        continue;
      }
      wrote.set(anyKey, await ask({ do: 'write', key: anyKey, note: name }));
      lastKey = anyKey;
      await delay(readAfterMs);
      const stale = await isStale(anyKey);
      if (performance.now() < countFrom) continue;
      counts.firstReads += 1;
      if (stale) counts.firstStale += 1;
    }
  };
  await Promise.all(Array.from({ length: sessionCount }, (_, n) => session(`${policy} ${lagMs} ${n}`)));
  const [before, after] = [await began, await replicaReads(processes, policy)];
  return {
    lagMs,
    policy,
    reads: after.reads - before.reads,
    onReplica: after.onReplica - before.onReplica,
    ...counts,
  };
}

export function lagRows(cells: readonly LagCell[]): readonly Row[] {
  return cells.flatMap(({ lagMs, policy, reads, onReplica, firstReads, firstStale, stale }) => {
    const of = { case: `lag ${lagMs} ms`, subject: names[policy] };
    return [
      rowOf({ ...of, metric: 'on replicas', unit: '%' }, [(100 * onReplica) / reads]),
      rowOf({ ...of, metric: 'first reads that hide the write', unit: '%' }, [
        (100 * firstStale) / firstReads,
      ]),
      rowOf({ ...of, metric: 'first reads', unit: 'reads' }, [firstReads]),
      rowOf({ ...of, metric: 'reads that hide an own write', unit: 'reads' }, [stale]),
      rowOf({ ...of, metric: 'reads', unit: 'reads' }, [reads]),
    ];
  });
}
