/**
 * `plimsoll/bullmq`: jobs over BullMQ on Redis or Valkey, behind the same port as those of `plimsoll/jobs`.
 *
 * Guarantee: what `jobDriverCases` of `plimsoll/testing` asks of every driver. Each job runs at least once, with the
 * same id on every try; what fails is tried again after a backoff and parked with its error after its last try; a dead
 * process's jobs begin again within twice `lockMs`; whoever asks Redis has an answer or an error within `answerMs`.
 *
 * Authoritative: Redis. What it loses (no append-only file, a failover) is lost.
 *
 * Not promised: that a job's effect and its end are one, nor order by key. A job may run twice: make its effect safe to
 * repeat under its id. Enqueued in a transaction only by way of PostgreSQL and `relay`.
 *
 * On failure: options that BullMQ has nothing for are refused with PL_CONFIG. Without an answer of Redis PL_TIMEOUT;
 * what was sent may be done later. A worker that comes back late finds the end of its job refused.
 */
export {
  bullmqJobsDefaults,
  createBullmqJobs,
  type BullmqJobs,
  type BullmqJobsOptions,
} from './create-bullmq-jobs.ts';
export { bullmqWorkerDefaults, type BullmqWorkerOptions } from './worker.ts';
