import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import { eraseAnswers } from '../idempotency/statements.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { moveCommitted, relayDefaults } from '../outbox/relay.ts';
import { eraseSagas } from '../saga/erase.ts';
import type { AnyEvent, AnyOperation } from './contract.ts';
import { eraseEvents } from './erase-events.ts';
import { eraseJobs } from './erase-jobs.ts';
import type { Unerased } from './unerased.ts';

export interface ErasureRequest {
  /** Whose data: what `personal.subject` of events, commands and sagas gives. */
  readonly subject: string;
  /** Who asks, and why; kept with the erasure. */
  readonly by: string;
  readonly why: string;
  /** How long to wait for transactions that are open when it begins, for they may hold more. Default 30_000. */
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

export interface Erasure {
  /** Events whose payload was changed. */
  readonly events: number;
  /** Deliveries, jobs and dead letters that now carry what is left of their payload or input. */
  readonly deliveries: number;
  readonly jobs: number;
  /** Sagas that had ended and no longer have what they were given, their children among them. */
  readonly sagas: number;
  /** Recorded answers that are gone; their work stays done. */
  readonly answers: number;
  /** What could not be read or changed, or has not ended and needs its data. */
  readonly left: readonly Unerased[];
  /**
   * False when transactions that were open at the beginning are open still: run it again when they have ended.
   */
  readonly complete: boolean;
}

/**
 * Takes the data of a person out of what Plimsoll keeps, by what the contracts and sagas say (`personal`): payloads of
 * the log and of deliveries, inputs of jobs, their dead letters and last errors, sagas that have ended, recorded answers.
 * Events, their order and positions stay, what is left of a payload or an input matches its schema, and what happened can
 * still be told, so subscribers and views read on and work goes on. An event that an older version wrote is upcast first
 * and stays so. `declared`: all members of all contracts, as `membersOf` gives them.
 *
 * Covered is what was written before this call, whether it was committed by then or not; so change first what lets
 * new data of the person come about. Not covered: what handlers, views and other systems made of it, ids, keys and
 * callers, results of jobs and of `external`, and backups.
 */
export async function eraseSubject(
  database: Database,
  declared: readonly (AnyOperation | AnyEvent)[],
  request: ErasureRequest,
): Promise<Erasure> {
  const { subject, by, why, timeoutMs = 30_000, clock = systemClock } = request;
  const deadlineMs = clock.monotonicMs() + timeoutMs;
  const first = await pass(database, declared, subject);
  // Whoever was at it with the old payload, a commit or a replay, has ended after this, and left it here.
  const ended = await openOnesEnded(database, clock, deadlineMs);
  const drained = await outboxDrained(database, subject, clock, deadlineMs);
  const second = await pass(database, declared, subject);
  const events = first.events + second.events;
  await database.execute(
    sql`insert into plimsoll.erasure (subject, by, why, events) values (${subject}, ${by}, ${why}, ${events})`,
  );
  return {
    events,
    deliveries: first.deliveries + second.deliveries,
    jobs: first.jobs + second.jobs,
    sagas: first.sagas + second.sagas,
    answers: first.answers + second.answers,
    left: second.left,
    complete: ended && drained,
  };
}

/** All that is there now. */
async function pass(
  database: Database,
  declared: readonly (AnyOperation | AnyEvent)[],
  subject: string,
): Promise<Omit<Erasure, 'complete'>> {
  const logged = await eraseEvents(
    database,
    declared.filter((member) => member.kind === 'event'),
    subject,
  );
  const commands = declared.filter((member) => member.kind === 'command');
  const jobs = await eraseJobs(database, commands, subject);
  const sagas = await eraseSagas(database, subject);
  // After the sagas: what these have ended with is no longer needed.
  const answers = await database.one<{ erased: number; left: number }>(eraseAnswers(subject));
  return {
    events: logged.events,
    deliveries: logged.deliveries,
    jobs: jobs.erased,
    sagas: sagas.erased,
    answers: answers.erased,
    left: [
      ...logged.left,
      ...jobs.left,
      ...sagas.open.map(({ name, count }): Unerased => ({
        kind: 'saga',
        name,
        count,
        why: 'it has not ended, and needs what it was given; when it has, erase again',
      })),
      ...(answers.left === 0
        ? []
        : [
            {
              kind: 'answer' as const,
              name: 'of calls',
              count: answers.left,
              why: 'the job, delivery or saga that made the call has not ended; when it has, erase again',
            },
          ]),
    ],
  };
}

/** Whether all transactions that are open now, and have written something, have ended by then. */
async function openOnesEnded(database: Database, clock: Clock, deadlineMs: number): Promise<boolean> {
  // Takes an id, which is after those of all of them; the end of a snapshot would only be after those that have ended.
  const { own } = await database.one<{ own: string }>(sql`select pg_current_xact_id()::text as own`);
  return until(clock, deadlineMs, async () => {
    const { ended } = await database.one<{ ended: boolean }>(
      sql`select pg_snapshot_xmin(pg_current_snapshot()) > ${own}::xid8 as ended`,
    );
    return ended;
  });
}

async function outboxDrained(
  database: Database,
  subject: string,
  clock: Clock,
  deadlineMs: number,
): Promise<boolean> {
  return until(clock, deadlineMs, async () => {
    const { waiting } = await database.one<{ waiting: boolean }>(
      sql`select exists (select 1 from plimsoll.outbox where subject = ${subject}) as waiting`,
    );
    if (waiting) await moveCommitted(database, relayDefaults.batch);
    return !waiting;
  });
}

async function until(clock: Clock, deadlineMs: number, holds: () => Promise<boolean>): Promise<boolean> {
  for (;;) {
    if (await holds()) return true;
    if (clock.monotonicMs() >= deadlineMs) return false;
    await clock.sleep(20);
  }
}
