import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';

/** Makes of invalidations that the inner tiers have been told of purges by each of the purgers. */
export async function makePurges(
  primary: Pick<Queryable, 'execute'>,
  ids: readonly string[],
  purgers: readonly string[],
  times: number,
): Promise<number> {
  return await primary.execute(sql`
    with told as (delete from plimsoll.invalidation where id = any (${[...ids]}::bigint[]) returning tags)
    insert into plimsoll.purge (purger, tags, times_left)
      select purger, tags, ${times}::smallint from told cross join unnest(${[...purgers]}::text[]) purger
      where tags <> '{}'`);
}

export interface DuePurge {
  readonly id: string;
  readonly tags: readonly string[];
}

/** Takes those that are due; nobody else does for `leaseMs`. */
export async function takeDuePurges(
  primary: Pick<Queryable, 'query'>,
  purger: string,
  leaseMs: number,
  most: number,
): Promise<readonly DuePurge[]> {
  return await primary.query<{ id: string; tags: string[] }>(sql`
    update plimsoll.purge set due_at = plimsoll.cache_after(${leaseMs}) where id in (
      select id from plimsoll.purge where purger = ${purger} and due_at <= clock_timestamp()
      order by due_at limit ${most} for update skip locked)
    returning id::text as id, tags`);
}

/** They were done: the last time ends them, another one is due after `againMs`. */
export async function finishPurges(
  primary: Pick<Queryable, 'execute'>,
  ids: readonly string[],
  againMs: number,
): Promise<void> {
  await primary.execute(sql`
    with again as (
      update plimsoll.purge set times_left = times_left - 1, due_at = plimsoll.cache_after(${againMs})
      where id = any (${[...ids]}::bigint[]) and times_left > 1)
    delete from plimsoll.purge where id = any (${[...ids]}::bigint[]) and times_left <= 1`);
}

/** They were not done: due again after `waitMs`. */
export async function putOffPurges(
  primary: Pick<Queryable, 'execute'>,
  ids: readonly string[],
  waitMs: number,
): Promise<void> {
  await primary.execute(
    sql`update plimsoll.purge set due_at = plimsoll.cache_after(${waitMs}) where id = any (${[...ids]}::bigint[])`,
  );
}
