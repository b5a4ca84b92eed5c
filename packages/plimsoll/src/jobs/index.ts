/**
 * `plimsoll/jobs`: a job is a command called later.
 *
 * Guarantee: a job exists exactly when the transaction that enqueued it committed; its command's database
 * effects and its completion commit together, so they happen once; a dead process's jobs are taken over; jobs of
 * one order key run one at a time, in the order of their commits.
 *
 * Authoritative: `plimsoll.task`. A job that is not there has ended, and only a receipt says how.
 *
 * States: waiting (behind another of its order key) and scheduled (not due) → ready → running → (gone | scheduled
 * again after a backoff | parked after its last attempt). A parked one is a dead letter: replay or discard it.
 *
 * Not promised: that an effect outside the database happens once. It may be repeated, with the same `key`.
 *
 * On failure: a throw, a declared error or a passed deadline sends the job back with exponential backoff;
 * kill -9 sends it back as soon as the server has ended the worker's session; a worker that comes back late
 * finds its completion refused and rolls back; a long transaction elsewhere slows down no claims but those of names
 * with limits.
 */
export { jobDefaults, newJob, type JobOptions, type JobRequest } from './job.ts';
export type { Jobs, JobWorker, JobWorkerOptions, NewJob } from './jobs.ts';
export type { JobFunction, JobTry, RunningJob } from './running-job.ts';
export {
  createJobs,
  type JobsOptions,
  type PostgresJobs,
  type PostgresWorkerOptions,
  type TransactionalFunction,
} from './create-jobs.ts';
export { createCron, cronDefaults, type CronOptions } from './cron.ts';
export { type CatchUp, type Schedule } from './schedule.ts';
export { jobHandler, type JobHandlerOptions, type TransactionalJob } from './job-handler.ts';
export { cancel, retry, snooze, type TaskOutcome } from '../durable/outcome.ts';
export {
  createWorker,
  workerDefaults,
  type TaskControl,
  type TaskHandler,
  type Worker,
  type WorkerOptions,
} from '../durable/worker.ts';
export {
  completeTask,
  holdOrders,
  insertTasks,
  insertUnique,
  type ClaimedTask,
  type NewTask,
  type OnDuplicate,
} from '../durable/task.ts';
export { setLimits, setPaused, type QueueLimits, type TaskRate } from '../durable/limits.ts';
export { cancelTask, type CancelAnswer } from '../durable/cancel.ts';
export { newTaskId } from '../durable/task-id.ts';
export {
  countTasksByName,
  listTasks,
  taskStates,
  type TaskCountsOfName,
  type TaskDetails,
  type TaskFilter,
  type TaskState,
} from '../durable/list-tasks.ts';
export {
  discardParked,
  listParked,
  replayParked,
  type DeadLetter,
  type ParkedFilter,
} from '../durable/dead-letters.ts';
export { jobMigrations } from '../durable/migrations.ts';
export { acceptJob, forgetReceipts, jobStatus, type JobStatus } from './receipt.ts';
