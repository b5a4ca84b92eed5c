import { randomInt } from 'node:crypto';
import { systemClock } from '../../kernel/clock.ts';
import { throwIfProblems } from '../../kernel/errors.ts';
import { CausalityChecker } from './checker.ts';
import { seededRandom } from './random.ts';
import { Sessions, type SessionsReport } from './sessions.ts';
import type { CausalSystem } from './system.ts';
import {
  workloadDefaults,
  workloadProblems,
  type WorkloadOptions,
  type WorkloadSettings,
} from './workload-options.ts';

export interface WorkloadReport extends SessionsReport {
  readonly seed: number;
  readonly checker: CausalityChecker;
}

/**
 * Runs sessions against a system and checks each answer. Resolves when the signal aborts or the operations are done, and
 * all answers that were waited for are there; failures of the system are counted and not thrown.
 */
export async function runWorkload(
  system: CausalSystem,
  options: WorkloadOptions = {},
): Promise<WorkloadReport> {
  const settings: WorkloadSettings = {
    ...workloadDefaults,
    seed: options.seed ?? randomInt(2 ** 31),
    operations: options.signal === undefined ? workloadDefaults.operations : Infinity,
    checker: options.checker ?? new CausalityChecker(),
    clock: systemClock,
    signal: undefined,
    ...options,
    sessions: { ...workloadDefaults.sessions, ...options.sessions },
  };
  throwIfProblems('the workload', workloadProblems(settings, system));
  const sessions = new Sessions(system, settings, seededRandom(settings.seed));
  await sessions.run();
  return { seed: settings.seed, checker: settings.checker, ...sessions.report() };
}
