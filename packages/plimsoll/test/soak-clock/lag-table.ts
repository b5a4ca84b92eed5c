import { CausalityChecker, runWorkload } from 'plimsoll/testing';
import type { ServingProcess } from './child-process.ts';
import { isOurs, policies, type Policy } from './protocol.ts';
import type { Servers } from './servers.ts';
import { systemOf } from './system.ts';

export interface LagRow {
  readonly lagMs: number;
  readonly policy: Policy;
  readonly reads: number;
  /** Part of the reads that a replica served. */
  readonly offload: number;
  readonly readYourWrites: number;
  readonly monotonicReads: number;
  readonly writesFollowReads: number;
}

export interface LagTableOptions {
  readonly servers: Servers;
  readonly processes: readonly ServingProcess[];
  readonly secret: string;
  readonly seed: number;
  readonly cellMs: number;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

export const lagsMs: readonly number[] = [50, 500, 3_000];
export const cellsOfTable: number = lagsMs.length * policies.length;
/** As many as a small shop has at a time, who pause between requests. */
const sessions = { fast: 0, slow: 120, returning: 0, tabs: 0 };

/** What each policy gives away and gets wrong, by how late replicas are. */
export async function lagTable(options: LagTableOptions): Promise<readonly LagRow[]> {
  const { servers, signal } = options;
  const rows: LagRow[] = [];
  try {
    for (const lagMs of lagsMs) {
      await Promise.all(servers.standbys().map((standby) => standby.lag(lagMs)));
      for (const policy of policies) {
        if (signal.aborted) return rows;
        rows.push(await cell(options, lagMs, policy));
      }
    }
  } finally {
    await Promise.allSettled(servers.standbys().map((standby) => standby.lag(0)));
  }
  return rows;
}

async function cell(options: LagTableOptions, lagMs: number, policy: Policy): Promise<LagRow> {
  const { processes, secret, seed, cellMs, signal, say } = options;
  const checker = new CausalityChecker({ keptViolations: 0 });
  const before = await replicaReads(processes, policy);
  await runWorkload(systemOf({ processes, policy, secret, cacheShare: 0, cacheLevel: 'ryw' }), {
    seed,
    checker,
    sessions,
    thinkMs: 400,
    signal: AbortSignal.any([signal, AbortSignal.timeout(Math.round(cellMs))]),
  });
  const after = await replicaReads(processes, policy);
  const found = checker.violationsByGuarantee;
  const row = {
    lagMs,
    policy,
    reads: checker.reads,
    offload: (after.onReplica - before.onReplica) / Math.max(1, after.reads - before.reads),
    readYourWrites: found['read-your-writes'] ?? 0,
    monotonicReads: found['monotonic-reads'] ?? 0,
    writesFollowReads: found['writes-follow-reads'] ?? 0,
  };
  say(`lag ${lagMs} ms, ${policy}: ${row.reads} reads, ${checker.violationCount} violations`);
  return row;
}

export interface ReplicaReads {
  readonly reads: number;
  readonly onReplica: number;
}

export async function replicaReads(
  processes: readonly ServingProcess[],
  policy: Policy,
): Promise<ReplicaReads> {
  let [reads, onReplica] = [0, 0];
  for (const process of processes) {
    const { routing, others } = await process.stats();
    reads += isOurs(policy) ? routing.reads : others.reads;
    onReplica += isOurs(policy) ? Math.round(routing.reads * routing.offload) : others.onReplica;
  }
  return { reads, onReplica };
}

export function printLagTable(rows: readonly LagRow[]): string {
  const cells = rows.map((row) => [
    `${row.lagMs} ms`,
    row.policy,
    String(row.reads),
    `${(row.offload * 100).toFixed(1)} %`,
    String(row.readYourWrites),
    String(row.monotonicReads),
    String(row.writesFollowReads),
  ]);
  const head = ['lag', 'policy', 'reads', 'on replicas', 'own writes hidden', 'went back', 'out of order'];
  const widths = head.map((name, at) => Math.max(name.length, ...cells.map((row) => row[at]?.length ?? 0)));
  return [head, ...cells]
    .map((row) =>
      row
        .map((text, at) => (at === 1 ? text.padEnd(widths[at] ?? 0) : text.padStart(widths[at] ?? 0)))
        .join('  '),
    )
    .join('\n');
}
