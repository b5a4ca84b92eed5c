import type { Area, Row } from '../report.ts';
import { compare, rowsOf, type Opening, type Taken } from './compare.ts';
import { failurePath, successCounts } from './failure-path.ts';
import { fullPolicy } from './full-policy.ts';
import { memoryLimits } from './memory-limits.ts';
import { passThrough } from './pass-through.ts';
import { postgresLimits } from './postgres-limits.ts';
import { queueComparison } from './queues.ts';
import { redisLimits } from './redis-limits.ts';
import { targetRows } from './targets.ts';

const defaultRounds = 15;
const openings: readonly Opening[] = [
  passThrough,
  ...successCounts.map(failurePath),
  fullPolicy,
  queueComparison('sync'),
  queueComparison('setImmediate'),
  memoryLimits('allowed'),
  memoryLimits('denied'),
  redisLimits,
  postgresLimits,
];

/** One comparison after the other, each with its part of the time; in each the subjects take turns. */
export const bench: Area = async ({ rounds = defaultRounds, timeLeftMs, say }) => {
  const rows: Row[] = [];
  const raw: Taken[] = [];
  const settings: Record<string, string> = {};
  for (const [index, open] of openings.entries()) {
    const endMs = performance.now() + timeLeftMs() / (openings.length - index);
    const comparison = await open();
    if ('skipped' in comparison) {
      settings[comparison.name] = `skipped: ${comparison.skipped}`;
      say(`bench: ${comparison.name}: skipped: ${comparison.skipped}`);
      continue;
    }
    try {
      say(`bench: ${comparison.name}`);
      const taken = await compare(comparison, rounds, () => endMs - performance.now());
      raw.push(...taken);
      rows.push(...rowsOf(comparison, taken));
      for (const { name, setting } of comparison.subjects) settings[`${comparison.name}: ${name}`] = setting;
    } finally {
      await comparison.close?.();
    }
  }
  return { rows: [...rows, ...targetRows(raw)], settings, raw };
};
