import { describe, expect, test } from 'vitest';
import { dueTimes, nextTime, scheduleProblems, type Schedule } from './schedule.ts';

const at = (text: string): Date => new Date(text);
const iso = (dates: readonly Date[]): string[] => dates.map((date) => date.toISOString());

describe('the next time', () => {
  test.each([
    ['*/15 * * * *', 'UTC', '2026-01-01T00:00:00Z', '2026-01-01T00:15:00.000Z'],
    ['0 3 * * *', 'Europe/Zurich', '2026-01-01T12:00:00Z', '2026-01-02T02:00:00.000Z'],
    ['0 3 * * *', 'Europe/Zurich', '2026-07-01T12:00:00Z', '2026-07-02T01:00:00.000Z'],
    ['*/5 * * * * *', 'UTC', '2026-01-01T00:00:01Z', '2026-01-01T00:00:05.000Z'],
  ])('%s in %s after %s is %s', (cron, timezone, after, next) => {
    expect(nextTime({ cron, timezone }, at(after))?.toISOString()).toBe(next);
  });

  test('a time that the clocks jump over is not lost, and one they repeat comes once', () => {
    const day = (cron: string, from: string, until: string): string[] => {
      const times: Date[] = [];
      let next = nextTime({ cron, timezone: 'Europe/Zurich' }, at(from));
      while (next !== undefined && next < at(until)) {
        times.push(next);
        next = nextTime({ cron, timezone: 'Europe/Zurich' }, next);
      }
      return iso(times);
    };
    // 02:30 does not exist on 29 March 2026, and exists twice on 25 October.
    expect(day('30 2 * * *', '2026-03-29T00:00:00Z', '2026-03-30T00:00:00Z')).toHaveLength(1);
    expect(day('30 2 * * *', '2026-10-24T22:00:00Z', '2026-10-25T22:00:00Z')).toHaveLength(1);
  });
});

describe('what is due', () => {
  const hourly = (catchUp: Schedule['catchUp']): Parameters<typeof dueTimes>[0] => ({
    cron: '0 * * * *',
    ...(catchUp === undefined ? {} : { catchUp }),
  });
  const nextAt = at('2026-01-01T01:00:00Z');

  test.each<Schedule['catchUp']>([undefined, 'skip', 'once', 'all'])('in time is one (%s)', (catchUp) => {
    const { times, next } = dueTimes(hourly(catchUp), nextAt, at('2026-01-01T01:00:00.300Z'));
    expect(iso(times)).toEqual(['2026-01-01T01:00:00.000Z']);
    expect(next?.toISOString()).toBe('2026-01-01T02:00:00.000Z');
  });

  test.each<[Schedule['catchUp'], string[]]>([
    [undefined, ['2026-01-01T01:00:00.000Z']],
    ['once', ['2026-01-01T01:00:00.000Z']],
    ['skip', []],
    ['all', ['2026-01-01T01:00:00.000Z', '2026-01-01T02:00:00.000Z', '2026-01-01T03:00:00.000Z']],
  ])('after hours in which nobody looked: %s', (catchUp, expected) => {
    const { times, next } = dueTimes(hourly(catchUp), nextAt, at('2026-01-01T03:30:00Z'));
    expect(iso(times)).toEqual(expected);
    expect(next?.toISOString()).toBe('2026-01-01T04:00:00.000Z');
  });

  test('what is not caught up leaves out only what is late', () => {
    const { times, next } = dueTimes(hourly('skip'), nextAt, at('2026-01-01T03:00:20Z'));
    expect(iso(times)).toEqual(['2026-01-01T03:00:00.000Z']);
    expect(next?.toISOString()).toBe('2026-01-01T04:00:00.000Z');
  });

  test('a hundred at once at most; the rest stays due', () => {
    const minutely = { cron: '* * * * *', catchUp: 'all' } as const;
    const { times, next } = dueTimes(minutely, nextAt, at('2026-01-02T01:00:00Z'));
    expect(times).toHaveLength(100);
    expect(next?.toISOString()).toBe('2026-01-01T02:40:00.000Z');
  });

  test('nothing before its time', () => {
    expect(dueTimes(hourly('once'), nextAt, at('2026-01-01T00:59:59Z'))).toEqual({ times: [], next: nextAt });
  });
});

test('all that is wrong is told at once', () => {
  const schedule = (over: Partial<Schedule>): Schedule => ({
    name: 'a',
    cron: '0 3 * * *',
    job: 'x.y',
    input: null,
    ...over,
  });
  expect(scheduleProblems([schedule({})])).toEqual([]);
  expect(
    scheduleProblems([
      schedule({}),
      schedule({}),
      schedule({ name: 'b', cron: '61 * * * *' }),
      schedule({ name: 'c', timezone: 'Mars/Olympus' }),
      schedule({ name: 'd', catchUp: 'some' as 'all' }),
      schedule({ name: 'e', options: { priority: 1.5 } }),
      schedule({ name: '' }),
    ]).map(({ path }) => path),
  ).toEqual([
    'schedules.a.name',
    'schedules.b.cron',
    'schedules.c.timezone',
    'schedules.d.catchUp',
    'schedules.e.options.priority',
    'schedules.6.name',
  ]);
});
