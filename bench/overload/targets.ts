import { median, rowOf, type Row } from '../report.ts';
import type { Taken } from './bench.ts';
import { goodWithinMs } from './cell.ts';
import { workloads } from './workloads.ts';

const mine = 'plimsoll';
const overloaded = [2, 4];

/** Printed, not asserted. */
export function targetRows(raw: readonly Taken[]): Row[] {
  return workloads.flatMap(({ name, targetPercent }) =>
    overloaded.flatMap((factor) => {
      const own = raw.filter((one) => one.subject === mine && one.workload === name && one.factor === factor);
      if (own.length === 0) return [];
      const goodput = own.map(({ goodputPercent }) => goodputPercent);
      const p99 = own.map(({ p99Ms }) => p99Ms);
      const told = (met: boolean): string => (met ? 'met' : 'missed');
      const about = { case: 'target', subject: `${name}, ${factor}x, ${mine}` };
      return [
        rowOf(
          {
            ...about,
            metric: `goodput at least ${targetPercent}: ${told(median(goodput) >= targetPercent)}`,
            unit: '%',
          },
          goodput,
        ),
        rowOf(
          {
            ...about,
            metric: `200, p99 at most ${goodWithinMs}: ${told(median(p99) <= goodWithinMs)}`,
            unit: 'ms',
          },
          p99,
        ),
      ];
    }),
  );
}
