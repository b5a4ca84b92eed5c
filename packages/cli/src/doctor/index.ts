/**
 * # Doctor: what is wrong with a running app, with evidence, and the smallest fix
 *
 * **Guarantee.** A finding has counts of what ran in the window and, for an index, the planner's own word:
 * the statement was planned on a twin of the database (tables, indexes and statistics, no rows) without and
 * with the index. Nothing below {@link thresholds} is told. It changes nothing: statements are explained and
 * never run, in read-only transactions; the twin is a database of its own and is dropped on every way out.
 *
 * **Authoritative.** N+1: how often the app ran each statement within one execution of an operation. Index:
 * the deltas of `pg_stat_statements` on the primary and the replicas, and the catalog.
 *
 * **Not promised.** That a healthy report means a healthy app: it sees only what ran while it watched. Calls
 * between modules in a loop, indexes for joins without a filter, expressions and partitioned tables are not
 * examined. A planner cost is not a time, and no statement is timed on the twin: it has no rows. What a fix gives
 * in headroom is not told: `plimsoll load` before and after measures it.
 *
 * **Failures.** App or database not reachable: PL_DOCTOR_UNREACHABLE. Nothing ran: PL_DOCTOR_IDLE. No
 * pg_stat_statements, or PostgreSQL below 16: a blind spot that says what to do. Below 18, or without the
 * right to create a database: the finding is told as not proved, after those that are.
 */
export { DoctorError } from './doctor-error.ts';
export type { DoctorErrorCode } from './doctor-error.ts';
export { doctorDefaults, examine } from './examine.ts';
export type { ExamineOptions } from './examine.ts';
export type {
  CacheFinding,
  DoctorReport,
  Finding,
  FindingCost,
  Fix,
  Gain,
  OperationCost,
  StatementFinding,
} from './finding.ts';
export { renderFindings } from './render-findings.ts';
export type { RenderOptions } from './render-findings.ts';
export { thresholds } from './thresholds.ts';
