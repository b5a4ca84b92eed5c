/**
 * `node --conditions=plimsoll:source bench/overload/search.ts [rounds]`: which setting of @fastify/under-pressure does
 * best at the CPU-bound workload, the only one of the three that it can see. After `npm run bench -- overload`, which
 * installs the peers.
 */
import { median, shuffled } from '../report.ts';
import { longestSendLagMs, measureCapacity, measureCell } from './cell.ts';
import type { Subject } from './subjects.ts';
import { workloads } from './workloads.ts';

const phases = { warmUpMs: 800, leadInMs: 1_200, measuredMs: 2_800 };
const factors = [2, 4];

const sampled = [20, 50, 100];
const candidates: readonly Subject[] = [
  ...[20, 50, 100, 200].flatMap((maxEventLoopDelay) =>
    sampled.map((sampleInterval) => candidate({ maxEventLoopDelay, sampleInterval })),
  ),
  ...[0.95, 0.98].flatMap((maxEventLoopUtilization) =>
    sampled.map((sampleInterval) =>
      candidate({ maxEventLoopUtilization, eventLoopUtilizationMode: 'interval', sampleInterval }),
    ),
  ),
];

function candidate(
  options: Extract<Subject['protection'], { readonly kind: 'under-pressure' }>['options'],
): Subject {
  const setting = JSON.stringify(options);
  return { name: setting, setting, protection: { kind: 'under-pressure', options } };
}

const rounds = Number(process.argv[2] ?? 1);
const [cpuBound] = workloads;
if (cpuBound === undefined) throw new Error('no workload');
const opened = await cpuBound.open();
const { callers } = cpuBound;
const capacity = await opened.withWork((work) => measureCapacity(work, callers, 500, 3_000));
console.log(`capacity ${capacity.toFixed(0)} requests a second`);
const reached = new Map<Subject, Map<number, { readonly goodput: number; readonly p99: number }[]>>();
for (let round = 0; round < rounds; round += 1) {
  for (const factor of factors) {
    for (const subject of shuffled(candidates)) {
      const cell = await opened.withWork((work) => measureCell(subject, work, capacity, factor, phases));
      if (cell.sendLagP99Ms > longestSendLagMs) continue;
      const byFactor = reached.get(subject) ?? new Map<number, []>();
      reached.set(subject, byFactor);
      byFactor.set(factor, [
        ...(byFactor.get(factor) ?? []),
        { goodput: cell.goodputPercent, p99: cell.p99Ms },
      ]);
    }
  }
}
await opened.close();
const table = [...reached].map(([{ setting }, byFactor]) => {
  const of = (factor: number, field: 'goodput' | 'p99'): number =>
    median((byFactor.get(factor) ?? []).map((one) => one[field]));
  const [twice, fourTimes] = [of(2, 'goodput'), of(4, 'goodput')];
  return {
    setting,
    twice,
    fourTimes,
    least: Math.min(twice, fourTimes),
    p99: Math.max(of(2, 'p99'), of(4, 'p99')),
  };
});
for (const { setting, twice, fourTimes, p99 } of table
  .filter(({ least }) => !Number.isNaN(least))
  .toSorted((a, b) => b.least - a.least))
  console.log(
    `goodput ${twice.toFixed(0)} % at 2x, ${fourTimes.toFixed(0)} % at 4x; worst p99 ${p99.toFixed(0)} ms: ${setting}`,
  );
