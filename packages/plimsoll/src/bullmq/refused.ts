import type { QueueLimits } from '../durable/limits.ts';
import type { Problem } from '../kernel/errors.ts';
import type { JobOptions } from '../jobs/job.ts';

const instead = 'leave it out, or enqueue with createJobs of plimsoll/jobs, which keeps jobs in PostgreSQL';

const refused = (path: string, value: unknown, why: string): Problem[] =>
  value === undefined ? [] : [{ path, message: `is ${JSON.stringify(value)}; ${why}: ${instead}` }];

/** Options of a job that BullMQ without its paid groups has nothing for. */
export function refusedOptions({ orderKey, onPark, groupKey }: Partial<JobOptions>): Problem[] {
  return [
    ...refused('orderKey', orderKey, 'BullMQ keeps no order by key'),
    ...refused('onPark', onPark, 'BullMQ keeps no order by key'),
    ...refused('groupKey', groupKey, 'BullMQ counts by name only'),
  ];
}

export function refusedLimits({ perGroup, turns }: QueueLimits): Problem[] {
  return [
    ...refused('perGroup', perGroup, 'BullMQ counts by name only'),
    ...refused('turns', turns, 'BullMQ knows no turns between groups'),
  ];
}

export function unknownName(name: string, names: ReadonlySet<string>): Problem[] {
  if (names.has(name)) return [];
  return [
    {
      path: 'name',
      message: `is ${JSON.stringify(name)}; give one of ${[...names].join(', ')}, or add it to \`names\` of createBullmqJobs`,
    },
  ];
}
