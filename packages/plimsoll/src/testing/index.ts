/**
 * `plimsoll/testing`: for tests of an app.
 *
 * Guarantee: {@link untilIdle} resolves only when everything that was set off has happened. A module that
 * passes with {@link testModule} has been run by the real runtime on a real database; only the modules that
 * it uses are {@link fake}, and those keep to their contracts. {@link placements} and {@link underFaults} run the
 * same body wherever the parts of an app can be, and with faults that a seed repeats. {@link checkHistory} and
 * {@link CausalityChecker} find each read that hides from its client what he has written, read, or must know of.
 * {@link jobDriverCases} are the promises of a driver of jobs, to be tried on one of your own.
 */
export { checkHistory } from './causality/check-history.ts';
export { CausalityChecker, checkerDefaults, type CheckerOptions } from './causality/checker.ts';
export { describeViolation, guarantees } from './causality/history.ts';
export type {
  Dependency,
  Guarantee,
  HandOver,
  Loss,
  Operation,
  ReadLevel,
  ReadOperation,
  Version,
  Violation,
  WriteOperation,
} from './causality/history.ts';
export type { CausalSystem, Client, RowRead, RowWritten } from './causality/system.ts';
export { runWorkload, type WorkloadReport } from './causality/workload.ts';
export { workloadDefaults, type SessionCounts, type WorkloadOptions } from './causality/workload-options.ts';
export { jobDriverCases } from '../jobs/driver-suite/suite.ts';
export { workUntilKilled, type JobDriverCase, type TriedJobDriver } from '../jobs/driver-suite/harness.ts';
export { fake, type FakeHandlers } from './fake.ts';
export {
  faultDefaults,
  underFaults,
  type Fault,
  type FaultKind,
  type FaultOptions,
  type Faults,
} from './faults.ts';
export { placements, type Placement } from './placements.ts';
export { scenario, type Scenario, type ScenarioEvent, type ScenarioOutcome } from './scenario.ts';
export { testModule, type TestedModule, type TestModuleOptions } from './test-module.ts';
export { untilIdle } from './until-idle.ts';
export { stress } from './stress.ts';
