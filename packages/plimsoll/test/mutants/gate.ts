import type { Mutant } from './edit.ts';

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
export function runsOf(
  mutants: readonly Mutant[],
  schedules: readonly { readonly name: string }[],
): readonly Run[] {
  return schedules.flatMap(({ name: schedule }) => [
    { schedule, mutant: undefined },
    ...mutants.flatMap(({ name, schedules: catching }) =>
      catching.includes(schedule) ? [{ schedule, mutant: name }] : [],
    ),
  ]);
}
