/**
 * `plimsoll/saga`: a sequence of commands of several modules that is done as a whole, or undone as a whole.
 *
 * Guarantee: a saga exists exactly when the transaction that started it committed, and ends in one of two ways: every
 * step is done, or every step that was done has been compensated, newest first; across kill -9 at any point. A step is
 * called again with the same key until its outcome is recorded. Its effect is once where the record is written in the
 * transaction of the effect, as for the commands of modules, or else where the command takes the key.
 *
 * Authoritative: `plimsoll.saga_step`, to which rows are only added. The code is run again over it from the beginning
 * whenever the saga goes on; what is recorded is answered and not called.
 *
 * States: running → (waiting ⇄ running) → done | compensating → compensated. Any that cannot go on by itself is stuck,
 * says so aloud, and goes on by hand: retry, resume, compensate.
 *
 * Not promised: isolation. Others see what a step did before a later one undoes it. Nor that a compensation puts the
 * world back as it was: it is a command of yours.
 *
 * On failure: a step that throws is called again with backoff, in the end the saga is stuck; so is a compensation. A
 * dead process's sagas are taken over like its jobs, and what it writes late is refused. Code that does not fit the
 * history stops the saga before it does anything. A version that no worker has waits for one.
 */
export {
  saga,
  stepDefaults,
  type AnySaga,
  type Approval,
  type ChildResult,
  type Run,
  type Saga,
  type SagaSpec,
  type StepOptions,
} from './saga.ts';
export { SagaFailure } from './failure.ts';
export { type AwaitedEvent, type StepCommand, type StepResult, type StepValue } from './callable.ts';
export {
  approveSaga,
  cancelSaga,
  compensateSaga,
  rejectSaga,
  resumeSaga,
  retrySaga,
  type Decision,
} from './decisions.ts';
export {
  countSagas,
  forgetSagas,
  listSagas,
  showSaga,
  type SagaCounts,
  type SagaDetails,
  type SagaFilter,
  type SagaSummary,
} from './read.ts';
export { sagaFacts, type SagaFact } from './trace-facts.ts';
export { type HistoryKind, type HistoryRow } from './history.ts';
export { sagaMigrations } from './migrations.ts';
export { newSaga, type SagaRequest, type StartedSaga } from './new-saga.ts';
export { insertSagas, type Ending, type NewSaga, type SagaState } from './statements.ts';
export { sagaDefaults, sagaTaskHandlers, type HostedSaga, type SagaRunnerOptions } from './runner.ts';
export { type RecordStep } from './step-call.ts';
export { createEventFollower, followerDefaults, type EventFollowerOptions } from './wait-events.ts';
