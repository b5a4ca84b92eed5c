import { Cron } from 'croner';
import type { Problem } from '../kernel/errors.ts';
import { jobProblems, type JobOptions } from './job.ts';

/** What becomes of the times at which no process looked. */
export type CatchUp =
  /** Those that are more than a minute late are left out. */
  | 'skip'
  /** One job makes up for all of them. */
  | 'once'
  /** Each has its job, the oldest first. */
  | 'all';

/** A job that is enqueued again and again. */
export interface Schedule {
  /** Unique among all schedules of the database. */
  readonly name: string;
  /** `0 3 * * 1-5`: minute, hour, day of month, month, day of week; with a sixth field in front, seconds. */
  readonly cron: string;
  /** IANA name of the time zone in which the expression is read. Default `UTC`. */
  readonly timezone?: string;
  /** The command's id, or the name of a handler. */
  readonly job: string;
  readonly input: unknown;
  /** Default `once`. */
  readonly catchUp?: CatchUp;
  readonly options?: Pick<
    JobOptions,
    'maxAttempts' | 'timeoutMs' | 'keepResult' | 'priority' | 'orderKey' | 'onPark' | 'groupKey'
  >;
}

/** How late a time may be that is not caught up. */
const skipMs = 60_000;
/** At most so many jobs of one schedule at once; the rest in the next look. */
const most = 100;

/** The first time after `after`; undefined when there is none. The expression was checked before. */
export function nextTime(
  { cron, timezone }: Pick<Schedule, 'cron' | 'timezone'>,
  after: Date,
): Date | undefined {
  return new Cron(cron, { timezone: timezone ?? 'UTC' }).nextRun(after) ?? undefined;
}

export interface Due {
  /** For which a job is enqueued each. */
  readonly times: readonly Date[];
  readonly next: Date | undefined;
}

/** What is due at `now` of a schedule whose next time was `nextAt`. */
export function dueTimes(
  schedule: Pick<Schedule, 'cron' | 'timezone' | 'catchUp'>,
  nextAt: Date,
  now: Date,
): Due {
  const { catchUp = 'once' } = schedule;
  if (catchUp === 'all') {
    const times: Date[] = [];
    let next: Date | undefined = nextAt;
    while (next !== undefined && next <= now && times.length < most) {
      times.push(next);
      next = nextTime(schedule, next);
    }
    return { times, next };
  }
  const next = nextTime(schedule, now);
  if (nextAt > now) return { times: [], next: nextAt };
  const late = now.getTime() - nextAt.getTime() > skipMs;
  if (catchUp === 'once' || !late) return { times: [nextAt], next };
  // The last of those that were missed may still be in time.
  const recent = nextTime(schedule, new Date(now.getTime() - skipMs));
  return { times: recent !== undefined && recent <= now ? [recent] : [], next };
}

/** Of all schedules at once, each named as it is written. */
export function scheduleProblems(schedules: readonly Schedule[]): Problem[] {
  const names = new Set<string>();
  return schedules.flatMap((schedule, index) => {
    const { name, cron, timezone = 'UTC', catchUp = 'once', options = {} } = schedule;
    const path = `schedules.${name === '' ? index : name}`;
    const problems: Problem[] = jobProblems(options).map((problem) => ({
      path: `${path}.options.${problem.path}`,
      message: problem.message,
    }));
    if (name === '') problems.push({ path: `${path}.name`, message: 'is empty; give a name' });
    if (names.has(name)) problems.push({ path: `${path}.name`, message: 'is there twice; names are unique' });
    names.add(name);
    if (!['skip', 'once', 'all'].includes(catchUp))
      problems.push({
        path: `${path}.catchUp`,
        message: `is ${JSON.stringify(catchUp)}; give skip, once or all`,
      });
    const wrong = wrongZone(timezone) ?? wrongExpression(cron, timezone);
    if (wrong !== undefined) problems.push({ path: `${path}.${wrong.path}`, message: wrong.message });
    return problems;
  });
}

function wrongZone(timezone: string): Problem | undefined {
  try {
    new Intl.DateTimeFormat('en', { timeZone: timezone });
    return undefined;
  } catch {
    return {
      path: 'timezone',
      message: `is ${JSON.stringify(timezone)}; give a name such as "Europe/Zurich" or "UTC"`,
    };
  }
}

function wrongExpression(cron: string, timezone: string): Problem | undefined {
  try {
    if (nextTime({ cron, timezone }, new Date()) !== undefined) return undefined;
    return { path: 'cron', message: `${JSON.stringify(cron)} has no time in the future` };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { path: 'cron', message: `${JSON.stringify(cron)} cannot be read: ${why}` };
  }
}
