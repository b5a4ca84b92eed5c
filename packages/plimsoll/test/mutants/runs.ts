import { cacheMutants } from './cache-mutants.ts';
import type { Mutant } from './edit.ts';
import type { Schedule } from './play.ts';
import { readMutants } from './reads-mutants.ts';
import { failoverSchedules } from './schedules/failover.ts';
import { fillSchedules } from './schedules/fills.ts';
import { processSchedules } from './schedules/processes.ts';
import { readSchedules } from './schedules/reads.ts';

export const mutants: readonly Mutant[] = [...readMutants, ...cacheMutants];
export const schedules: readonly Schedule[] = [
  ...readSchedules,
  ...fillSchedules,
  ...processSchedules,
  // From these on there are two primaries.
  ...failoverSchedules,
];

/** One schedule on one program: with a mutant, or as it is. */
export interface Run {
  readonly schedule: string;
  readonly mutant: string | undefined;
}

export interface Verdict extends Run {
  readonly operations: number;
  readonly violations: readonly string[];
  /** Why the schedule did not come to its end. */
  readonly failure: string | undefined;
  readonly tookMs: number;
}

/** In their order: each schedule as the library is, then with each mutant that it is to catch. */
export const runs: readonly Run[] = schedules.flatMap(({ name: schedule }) => [
  { schedule, mutant: undefined },
  ...mutants.flatMap(({ name, schedules: catching }) =>
    catching.includes(schedule) ? [{ schedule, mutant: name }] : [],
  ),
]);
