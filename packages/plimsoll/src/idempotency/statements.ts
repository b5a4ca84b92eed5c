import { sql, type Sql } from '../database/sql.ts';
import type { KeyedWork } from './keyed-work.ts';

/** What the table says of a key. */
export interface KnownRow {
  /** Null when there is no row. */
  readonly fingerprint: string | null;
  /** JSON; null while it runs, and where it was too large. */
  readonly answer: string | null;
  /** How long whoever began it may still be at it: null when it is done, 0 or less when it was left. */
  readonly busyMs: number | null;
  /** Whether no open transaction does this work; undefined where nobody asked. */
  readonly free?: boolean;
}

const known = sql`
  known.fingerprint, known.answer::text as answer,
  (extract(epoch from known.busy_until - now()) * 1000)::float8 as "busyMs"`;

/**
 * Takes the key for this transaction and tells what is recorded, always in one row. Never waits: somebody else at
 * the same work is `free: false`, so that no connection is held until he ends.
 */
export function takeKey({ scope, client, key }: KeyedWork): Sql {
  return sql`
    select pg_try_advisory_xact_lock(hashtextextended(concat_ws(chr(10), ${scope}::text, ${client}::text, ${key}::text), 0))
      as free, ${known}
    from (values (1)) one left join plimsoll.idempotency known on known.scope = ${scope}
      and known.client = ${client} and known.key = ${key} and known.expires_at > now()`;
}

/** The row, if there is one. */
export function findKey({ scope, client, key }: KeyedWork): Sql {
  return sql`
    select ${known} from plimsoll.idempotency known
    where known.scope = ${scope} and known.client = ${client} and known.key = ${key} and known.expires_at > now()`;
}

/**
 * Records what was answered: one row when it is recorded, none when somebody else's answer is there. `answer` is
 * JSON; null when it is too large to keep.
 */
export function recordAnswer(work: KeyedWork, answer: string | null, keepMs: number): Sql {
  const { scope, client, key, fingerprint, subject = null } = work;
  return sql`
    insert into plimsoll.idempotency as known (scope, client, key, fingerprint, subject, answer, expires_at)
    values (${scope}, ${client}, ${key}, ${fingerprint}, ${subject}, ${answer}::json, now() + ${keepMs}::float8 * interval '1 millisecond')
    on conflict (scope, client, key) do update set fingerprint = excluded.fingerprint, subject = excluded.subject,
      answer = excluded.answer, busy_until = null, attempt = known.attempt + 1, expires_at = excluded.expires_at
    where known.expires_at <= now() or known.busy_until <= now()
    returning 1 as recorded`;
}

/**
 * Begins work that cannot be in one transaction: one row with the number of this attempt, or none when it is done,
 * under way, or was begun with another input. What was left by whoever began it can be begun again.
 */
export function claimKey(work: KeyedWork, leaseMs: number, keepMs: number): Sql {
  const { scope, client, key, fingerprint, subject = null } = work;
  return sql`
    insert into plimsoll.idempotency as known (scope, client, key, fingerprint, subject, busy_until, expires_at)
    values (${scope}, ${client}, ${key}, ${fingerprint}, ${subject}, now() + ${leaseMs}::float8 * interval '1 millisecond',
      now() + ${keepMs}::float8 * interval '1 millisecond')
    on conflict (scope, client, key) do update set fingerprint = excluded.fingerprint, subject = excluded.subject, answer = null,
      busy_until = excluded.busy_until, attempt = known.attempt + 1, expires_at = excluded.expires_at
    where known.expires_at <= now()
      or (known.busy_until <= now() and known.fingerprint = excluded.fingerprint)
    returning attempt`;
}

/** Ends it with its answer, in the transaction of its effect: 1 row, or none when somebody else has begun it again. */
export function endClaim(work: KeyedWork, attempt: number, answer: string | null): Sql {
  const { scope, client, key } = work;
  return sql`
    update plimsoll.idempotency set answer = ${answer}::json, busy_until = null
    where scope = ${scope} and client = ${client} and key = ${key} and attempt = ${attempt}
      and busy_until is not null`;
}

/** It did not come to an end: the same may be sent again at once. */
export function freeClaim(work: KeyedWork, attempt: number): Sql {
  const { scope, client, key } = work;
  return sql`
    update plimsoll.idempotency set busy_until = now()
    where scope = ${scope} and client = ${client} and key = ${key} and attempt = ${attempt}
      and busy_until is not null`;
}

/**
 * Takes the answers of a subject out; the work stays done. What is under way needs those of its own calls, should it be
 * tried again: a job or delivery by the id of its task, a saga by its own. Answers how many went, and how many stay.
 */
export function eraseAnswers(subject: string): Sql {
  const isOfWork = sql`
    exists (select 1 from plimsoll.task t where t.id::text = left(known.key, 36))
    or exists (select 1 from plimsoll.saga s where s.state not in ('done', 'compensated')
      and starts_with(known.key, 'saga:' || s.id || '/'))`;
  return sql`
    with held as materialized (
      select scope, client, key, ${isOfWork} as "isOfWork" from plimsoll.idempotency known
      where subject = ${subject} and answer is not null
    ), erased as (
      update plimsoll.idempotency known set answer = null from held
      where known.scope = held.scope and known.client = held.client and known.key = held.key and not held."isOfWork" returning 1
    )
    select (select count(*)::int from erased) as erased, (select count(*)::int from held where "isOfWork") as "left"`;
}

/** Deletes so many of those that have expired, the oldest first. Rows that somebody is at are in use. */
export function deleteExpired(most: number): Sql {
  return sql`
    with old as (
      select scope, client, key from plimsoll.idempotency where expires_at <= now()
      order by expires_at limit ${most} for update skip locked)
    delete from plimsoll.idempotency known using old
    where known.scope = old.scope and known.client = old.client and known.key = old.key`;
}
