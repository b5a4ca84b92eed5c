/**
 * # Load: how much more than the expected peak a running HTTP system holds
 *
 * **Guarantee.** `headroom = held rate / expected peak`. A rate is held when every operation with enough
 * requests kept its p95 and error-rate objective, at least 99 % of the planned requests were sent and the
 * number in flight did not run away, in two steps: one of the search and one confirmation. The model is
 * open: all arrivals are fixed before a step begins, no request waits for an answer, and latency counts
 * from the *intended* start, so that neither a stalled target nor a stalled generator hides its delay.
 * Every planned request is counted: answered, failed, timed out, refused, or cut by an early stop.
 *
 * **Authoritative.** The steps in `LoadReport.steps`; every other number is derived from them.
 *
 * **Outcomes.** `found`; `at-least` (still holding at the cap, or when the time was up); `below-peak`;
 * `inconclusive-generator` (what failed was the generator); `inconclusive-noisy` (a rate passed and
 * failed); `aborted`. No ceiling is invented: without a failing rate the interval has no upper end.
 *
 * **Not promised.** The number is of this machine, this data and a few seconds a step: no leaks, no
 * checkpoints, no slow caches. `interval` is the gap between a holding and a failing rate, not a
 * statistical confidence. Target and generator share the CPU; how much the generator took is reported.
 * Requests are planned ahead: a session cannot use an answer. Sessions are cut at the end of a step.
 *
 * **Failures.** Remote target without `allowRemote`, impossible options, nothing listening, an operation
 * that only answers errors: `LoadError` before any load. A target that hangs, closes connections or dies
 * under load: a failing step. One failure is repeated before it counts. A generator whose own lateness
 * could explain the failure: that failure is not the server's. Unanswered 5 s after a step: ended as
 * timeouts, and a finding. A failing `sample`: a finding. Abort: everything is closed, and the report
 * tells of the finished steps.
 */
export { findHeadroom } from './find-headroom.ts';
export { holdRate } from './hold-rate.ts';
export type { HeldRate, HoldRateOptions } from './hold-rate.ts';
export { LoadError } from './load-error.ts';
export type { LoadErrorCode } from './load-error.ts';
export { resourceThresholds } from './moved-first.ts';
export type { MovedFirst, ResourceThreshold } from './moved-first.ts';
export type { Objective, Objectives } from './objectives.ts';
export { loadDefaults } from './options.ts';
export type { LoadOptions } from './options.ts';
export { renderProgress } from './progress.ts';
export type { Progress } from './progress.ts';
export { headroomChange, renderComparison } from './render-comparison.ts';
export type { Compared, ComparisonOptions, HeadroomChange } from './render-comparison.ts';
export { renderReport } from './render-report.ts';
export type { ReportOptions } from './render-report.ts';
export type { LoadReport, StepReport } from './report.ts';
export type { ResourceSample, ResourceUse } from './resources.ts';
export type { PlannedRequest, Scenario } from './scenario.ts';
export type { Outcome, Purpose } from './search.ts';
export type { OperationCounts, Percentiles } from './tally.ts';
export { describeReason } from './verdict.ts';
export type { FailReason } from './verdict.ts';
export type { GeneratorUse } from './generator-check.ts';
export { createSampler, objectivesOf } from './plimsoll-target.ts';
export { progressLine } from './progress-line.ts';
export type { ProgressLine } from './progress-line.ts';
