import { sql } from '../database/sql.ts';
import type { Database } from '../database/database.ts';
import type { Queryable } from '../database/statements.ts';
import { createSignal } from '../durable/signal.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import type { Clock } from '../kernel/clock.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { parseLsn, Seen, timelineOf, type Lsn } from '../kernel/seen.ts';

/** All events of commits at or before `lsn` have their place in the log, and none is past `position`. */
export interface LogMark {
  /** Undefined where the server tells no history; then only who asks for a new mark can go by it. */
  readonly epoch: string | undefined;
  readonly lsn: Lsn;
  readonly position: number;
}

export interface LogMarksOptions {
  readonly log: Database;
  readonly clock: Clock;
  /** Asks whoever moves events from the outbox to the log to look now. */
  readonly wakeRelay: () => void;
}

export interface LogMarks {
  /** The smallest position that is known to have the events of all commits at or before `lsn`; no statement is sent. */
  known(epoch: string, lsn: Lsn): number | undefined;
  /** A mark that is taken from now on: whatever was committed before is at or before it. */
  fresh(): Promise<LogMark>;
  /** Events have been moved from the outbox to the log. */
  moved(): void;
}

/** How long somebody who is committing, and then the relay, is given before it is looked at again. */
const firstPauseMs = 1;
const longestPauseMs = 25;
/** A mark that took longer is of use to nobody who waits. */
const mostMs = 2_000;
const mostMarks = 64;

/**
 * Transactions that have written to the outbox and have not ended. PostgreSQL lets go of the lock on a table only after
 * it has made the commit visible, also of one that waits for a synchronous standby.
 */
const writers = sql`
  select virtualtransaction, pid from pg_locks
  where locktype = 'relation' and relation = 'plimsoll.outbox'::regclass and mode = 'RowExclusiveLock'
    and database = (select oid from pg_database where datname = current_database())`;

// The writers depend on the position, so that they are listed after it was taken.
const standing = sql`
  with here as materialized (select pg_current_wal_insert_lsn() as lsn)
  select lsn::text as lsn, pg_walfile_name(lsn) as file,
    array(select virtualtransaction from (${writers}) as w where here.lsn is not null) as writers
  from here`;

/**
 * Those of the writers that may have been committing when the position was taken. Whoever waits for its client after
 * that had not begun to commit, so that its commit, if there will be one, is behind the position.
 */
const committing = (among: readonly string[]) => sql`
  select w.virtualtransaction from (${writers}) as w left join pg_stat_activity a on a.pid = w.pid
  where w.virtualtransaction = any (${[...among]}::text[])
    and a.state is distinct from 'idle in transaction' and a.state is distinct from 'idle in transaction (aborted)'`;

/**
 * Says how far in the log a commit's events are at most. A commit record can be in the write-ahead log, so at or before
 * a position of it, while nobody can see the commit yet, and then its events are in no outbox. So after the position
 * was taken those who are committing are waited for, then what the outbox has is noted, and when the relay has moved
 * that, the end of the log is behind all of it.
 */
export function createLogMarks({ log, clock, wakeRelay }: LogMarksOptions): LogMarks {
  const marks: LogMark[] = [];
  const relayed = createSignal();
  let current: Promise<LogMark> | undefined;
  let next: Promise<LogMark> | undefined;

  /** Apart from any request: others wait for the same, and what it reads is nothing that a client has seen. */
  function ask<T>(fn: (db: Queryable) => Promise<T>): Promise<T> {
    return log.readOnly(fn, { consistency: 'strong', seen: new Seen() });
  }

  async function settleEpoch(): Promise<string | undefined> {
    if (log.routing().epoch === undefined) await log.settle(log.seenUntilNow());
    return log.routing().epoch;
  }

  async function take(): Promise<LogMark> {
    const untilMs = clock.monotonicMs() + mostMs;
    const epoch = await settleEpoch();
    const here = await ask((db) => db.one<{ lsn: string; file: string; writers: string[] }>(standing));
    let left: readonly string[] = here.writers;
    for (let pauseMs = firstPauseMs; left.length > 0; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      const among = left;
      const found = await ask((db) => db.query<{ virtualtransaction: string }>(committing(among)));
      left = found.map(({ virtualtransaction }) => virtualtransaction);
      if (left.length > 0)
        await pause(pauseMs, untilMs, 'a transaction that wrote events is still committing');
    }
    const seen = await ask((db) =>
      db.one<{ position: number; last: string | null }>(sql`
        select position, (select max(id)::text from plimsoll.outbox) as last from plimsoll.sequencer`),
    );
    const position = seen.last === null ? seen.position : await whenMoved(seen.last, untilMs);
    const lsn = parseLsn(here.lsn) ?? 0n;
    const isSame =
      epoch !== undefined &&
      epoch === log.routing().epoch &&
      timelineOf(epoch) === Number.parseInt(here.file.slice(0, 8), 16);
    return { epoch: isSame ? epoch : undefined, lsn, position };
  }

  /** The end of the log once nothing of the outbox up to this id is left. */
  async function whenMoved(last: string, untilMs: number): Promise<number> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      wakeRelay();
      await relayed.wait(pauseMs);
      const { position, waiting } = await ask((db) =>
        db.one<{ position: number; waiting: boolean }>(sql`
          select position, exists (select 1 from plimsoll.outbox where id <= ${last}::bigint) as waiting
          from plimsoll.sequencer`),
      );
      if (!waiting) return position;
      await pause(0, untilMs, 'the relay has not moved what is in the outbox');
    }
  }

  async function pause(ms: number, untilMs: number, why: string): Promise<void> {
    if (clock.monotonicMs() >= untilMs)
      throw new PlimsollError(
        'PL_VIEW_LATE',
        `how far the log is could not be told within ${mostMs} ms: ${why}`,
      );
    if (ms > 0) await clock.sleep(ms);
  }

  function begin(): Promise<LogMark> {
    const taking = runInContext(createContext(), take);
    const keeping = taking
      .then((mark) => {
        marks.push(mark);
        if (marks.length > mostMarks) marks.shift();
        return mark;
      })
      .finally(() => {
        if (current === keeping) current = undefined;
      });
    current = keeping;
    return keeping;
  }

  return {
    known(epoch, lsn) {
      // What another history had moved to the log may be in its outbox again.
      if (epoch !== log.routing().epoch) return undefined;
      // In the order in which they were taken, so the first is the least far in the log.
      return marks.find((mark) => mark.epoch === epoch && mark.lsn >= lsn)?.position;
    },
    fresh() {
      if (current === undefined) return begin();
      // What is under way may have been taken before; the next one is for all who ask until it begins.
      next ??= current
        .catch(() => undefined)
        .then(() => {
          next = undefined;
          return begin();
        });
      return next;
    },
    moved: relayed.notify,
  };
}
