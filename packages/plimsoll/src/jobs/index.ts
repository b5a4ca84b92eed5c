/**
 * `plimsoll/jobs`: a job is a command called later.
 *
 * Guarantee: a job exists exactly when the transaction that enqueued it committed; its command's database
 * effects and its completion commit together, so they happen once; a dead process's jobs are taken over.
 *
 * States: ready → running → (gone | ready again after a backoff | parked after its last attempt).
 *
 * Not promised: that an effect outside the database happens once. It may be repeated, with the same `key`.
 *
 * On failure: a throw, a declared error or a passed deadline sends the job back with exponential backoff;
 * kill -9 sends it back as soon as the server has ended the worker's session; a worker that comes back late
 * finds its completion refused and rolls back.
 */
export { jobDefaults, newJob, type JobRequest } from './job.ts';
export { jobHandler, type RunningJob } from './job-handler.ts';
export { createWorker, workerDefaults, type TaskHandler, type WorkerOptions } from '../durable/worker.ts';
export { completeTask, insertTasks, unpark, type ClaimedTask, type NewTask } from '../durable/task.ts';
export { jobMigrations } from '../durable/migrations.ts';
export { receiptMigrations } from './migrations.ts';
export { acceptJob, forgetReceipts, jobStatus, type JobStatus } from './receipt.ts';
