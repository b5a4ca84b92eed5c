import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { createLoop, type Loop } from '../durable/loop.ts';
import { newTaskId } from '../durable/task-id.ts';
import { insertTasks } from '../durable/task.ts';
import { createWakeUp } from '../durable/wake-up.ts';
import { createContext } from '../kernel/context.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import { newJob } from './job.ts';
import { dueTimes, nextTime, scheduleProblems, type CatchUp, type Schedule } from './schedule.ts';

export interface CronOptions {
  readonly database: Database;
  /** Whose schedules these are: those it no longer lists are removed at the start. The name of the app, say. */
  readonly owner: string;
  readonly schedules: readonly Schedule[];
  /** How often to look at least. Default 1000. */
  readonly pollMs?: number;
  /** Called after jobs were enqueued. Default: tells the workers of all processes. */
  readonly announce?: () => void;
}

export const cronDefaults = { pollMs: 1_000 } as const;

interface Row {
  readonly name: string;
  readonly expression: string;
  readonly timezone: string;
  readonly task: string;
  readonly payload: unknown;
  readonly options: Schedule['options'];
  readonly catchUp: CatchUp;
  readonly nextAt: Date;
  readonly now: Date;
}

/**
 * Enqueues jobs at the times of their schedules. Any number of processes may run it: each time is enqueued once, by
 * whoever looks first, with `cron:<name>:<time>` as cause. A schedule that was changed begins anew from now; one that
 * was not goes on from where it was, with what was missed meanwhile caught up as it says. Runs nothing itself: that is
 * what workers do. PL_CONFIG names all that is wrong with the schedules.
 */
export function createCron(options: CronOptions): Loop {
  const { database, owner, schedules } = options;
  throwIfProblems('the schedules', scheduleProblems(schedules));
  const announce = options.announce ?? createWakeUp(database);
  return createLoop({
    name: 'cron',
    scope: database.scope,
    pollMs: options.pollMs ?? cronDefaults.pollMs,
    onStart: () => record(database, owner, schedules),
    async round() {
      if (schedules.length === 0) return false;
      const { waitMs } = await database.one<{ waitMs: number | null }>(sql`
        select extract(epoch from min(next_at) - clock_timestamp())::float8 * 1000 as "waitMs" from plimsoll.cron where not paused`);
      if (waitMs === null || waitMs > 0) return waitMs ?? false;
      if ((await database.transaction(enqueueDue)) > 0) announce();
      return true;
    },
  });
}

async function enqueueDue(tx: Transaction): Promise<number> {
  const rows = await tx.query<Row>(sql`
    select name, expression, timezone, task, payload, options, catch_up as "catchUp", next_at as "nextAt", now() as now
    from plimsoll.cron where not paused and next_at <= now() order by next_at limit 100 for update skip locked`);
  let enqueued = 0;
  for (const { name, expression: cron, timezone, task, payload, options, catchUp, nextAt, now } of rows) {
    const { times, next } = dueTimes({ cron, timezone, catchUp }, nextAt, now);
    const jobs = times.map((time) =>
      newJob(createContext({ causationId: `cron:${name}:${time.toISOString()}` }), {
        ...options,
        id: newTaskId(),
        name: task,
        input: payload,
      }),
    );
    if (jobs.length > 0) await tx.execute(insertTasks(jobs));
    enqueued += jobs.length;
    await tx.execute(sql`
      update plimsoll.cron set next_at = ${next ?? null}::timestamptz,
        last_at = coalesce(${times.at(-1) ?? null}::timestamptz, last_at)
      where name = ${name}`);
  }
  return enqueued;
}

async function record(database: Database, owner: string, schedules: readonly Schedule[]): Promise<void> {
  await database.transaction(async (tx) => {
    const names = schedules.map(({ name }) => name);
    await tx.execute(
      sql`delete from plimsoll.cron where owner = ${owner} and not name = any(${names}::text[])`,
    );
    const { now } = await tx.one<{ now: Date }>(sql`select now() as now`);
    for (const schedule of schedules) {
      const { name, cron, timezone = 'UTC', job, input, catchUp = 'once', options = {} } = schedule;
      const next = nextTime(schedule, now) ?? null;
      await tx.execute(sql`
        insert into plimsoll.cron as known (name, owner, expression, timezone, task, payload, options, catch_up, next_at)
        values (${name}, ${owner}, ${cron}, ${timezone}, ${job}, ${sql.json(input ?? null)}, ${sql.json(options)}, ${catchUp},
          ${next}::timestamptz)
        on conflict (name) do update set owner = excluded.owner, expression = excluded.expression,
          timezone = excluded.timezone, task = excluded.task, payload = excluded.payload, options = excluded.options,
          catch_up = excluded.catch_up, next_at = case
            when (known.expression, known.timezone) = (excluded.expression, excluded.timezone) then known.next_at
            else excluded.next_at end`);
    }
  });
}
