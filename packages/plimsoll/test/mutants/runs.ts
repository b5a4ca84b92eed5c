import { cacheMutants } from './cache-mutants.ts';
import type { Mutant } from './edit.ts';
import { runsOf } from './gate.ts';
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

export const runs = runsOf(mutants, schedules);
