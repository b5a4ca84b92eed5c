import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';

/** Of a name, sagas that have not ended. */
export interface OpenSagas {
  readonly name: string;
  readonly count: number;
}

/**
 * Takes the data of a person out of the sagas that hold it and have ended, and of their children: what they and their
 * steps were given and what came of it. What they did, when, on whose decision and how they ended stays. One that has
 * not ended needs its data, and so does a child whose parent has not: these are answered.
 */
export async function eraseSagas(
  db: Pick<Queryable, 'one' | 'query'>,
  subject: string,
): Promise<{ readonly erased: number; readonly open: readonly OpenSagas[] }> {
  const { erased } = await db.one<{ erased: number }>(sql`
    with recursive above as (
      ${aboveOf(subject)}
    ), ended as (
      select mine as id from above group by mine having bool_and(state in ('done', 'compensated'))
    ), family as (
      select id from ended
      union
      select b.operation || '/' || f.id || '/' || b.place from family f
      join plimsoll.saga_step b on b.saga = f.id and b.op = 'child' and b.kind = 'began'
    ), emptied as (
      update plimsoll.saga s set input = '{}', result = case when s.result is not null then '{}'::jsonb end,
        error = case when s.error is not null then jsonb_build_object('error', s.error->'error') end, trouble = null, erased_at = now()
      from family f where s.id = f.id and s.erased_at is null and s.state in ('done', 'compensated') returning s.id
    ), steps as (
      update plimsoll.saga_step h set input = null, output = null, compensation = null, error = null
      from emptied e where h.saga = e.id
    )
    select count(*)::int as erased from emptied`);
  const open = await db.query<OpenSagas>(sql`
    with recursive above as (
      ${aboveOf(subject)}
    )
    select name, count(*)::int as count from (
      select mine, min(name) filter (where id = mine) as name from above group by mine
      having bool_or(state not in ('done', 'compensated'))) unended
    group by name order by name`);
  return { erased, open };
}

/** Each saga of the subject that still holds data, with all that it is a part of. */
const aboveOf = (subject: string) => sql`
  select id as mine, id, name, parent, state from plimsoll.saga where subject = ${subject} and erased_at is null
  union all
  select a.mine, p.id, p.name, p.parent, p.state from above a join plimsoll.saga p on p.id = a.parent`;
