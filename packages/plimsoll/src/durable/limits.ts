import { sql, type Sql } from '../database/sql.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';

/** So many begun in so much time; unused ones add up to `tasks`. */
export interface TaskRate {
  readonly tasks: number;
  readonly perMs: number;
}

/** What holds for all tasks of one name, in all processes together. */
export interface QueueLimits {
  /** At most so many under way at once. Default: what the workers have slots for. */
  readonly concurrency?: number;
  /** At most so many begun in so much time. Default: no limit. */
  readonly rate?: TaskRate;
  /** The same for the tasks of each `groupKey`. Default: no limits. */
  readonly perGroup?: { readonly concurrency?: number; readonly rate?: TaskRate };
  /** Whether groups have turns, so that one with many tasks does not hold up the others. Default false. */
  readonly turns?: boolean;
}

/** Sets the limits of a name, instead of those before; whether it is paused stays. `undefined` lifts them. */
export function setLimits(name: string, limits: QueueLimits | undefined): Sql {
  const { concurrency, rate, perGroup, turns } = limits ?? {};
  throwIfProblems(`the limits of ${name}`, limitProblems(limits ?? {}));
  return sql`
    insert into plimsoll.task_queue as q
      (name, concurrency, rate, rate_ms, group_concurrency, group_rate, group_rate_ms, turns)
    values (${name}, ${concurrency ?? null}, ${rate?.tasks ?? null}, ${rate?.perMs ?? null}, ${perGroup?.concurrency ?? null},
      ${perGroup?.rate?.tasks ?? null}, ${perGroup?.rate?.perMs ?? null}, ${turns ?? false})
    on conflict (name) do update set concurrency = excluded.concurrency, rate = excluded.rate, rate_ms = excluded.rate_ms,
      group_concurrency = excluded.group_concurrency, group_rate = excluded.group_rate,
      group_rate_ms = excluded.group_rate_ms, turns = excluded.turns`;
}

/** From then on no worker begins a task of the name, until it is resumed; what is under way ends. */
export function setPaused(name: string, paused: boolean): Sql {
  return sql`
    insert into plimsoll.task_queue (name, paused) values (${name}, ${paused})
    on conflict (name) do update set paused = excluded.paused`;
}

/** Which of these names are claimed within limits; and takes away what no longer matters of their rates. */
export function limitedNames(names: readonly string[]): Sql {
  return sql`
    with forgotten as (
      delete from plimsoll.task_rate where paid_until < clock_timestamp() - interval '1 minute')
    select name, paused from plimsoll.task_queue
    where name = any(${names}) and (paused or turns
      or num_nonnulls(concurrency, rate, group_concurrency, group_rate) > 0)`;
}

/** What is wrong with limits. */
export function limitProblems({ concurrency, rate, perGroup = {} }: QueueLimits): Problem[] {
  const count = (path: string, value: number | undefined): Problem[] =>
    value === undefined || (Number.isInteger(value) && value >= 1 && value < 2 ** 31)
      ? []
      : [{ path, message: `is ${value}; give a whole number from 1` }];
  const time = (path: string, value: number | undefined): Problem[] =>
    value === undefined || (Number.isFinite(value) && value > 0)
      ? []
      : [{ path, message: `is ${value}; give milliseconds above 0` }];
  return [
    ...count('concurrency', concurrency),
    ...count('rate.tasks', rate?.tasks),
    ...time('rate.perMs', rate?.perMs),
    ...count('perGroup.concurrency', perGroup.concurrency),
    ...count('perGroup.rate.tasks', perGroup.rate?.tasks),
    ...time('perGroup.rate.perMs', perGroup.rate?.perMs),
  ];
}
