import type { Area, Row } from '../report.ts';
import { compare, rowsOf, type Opening, type Taken } from '../resilience/compare.ts';
import { getHit, getOrSetHit, taggedHit } from './hits.ts';
import { tables } from './tables.ts';

const openings: readonly Opening[] = [getHit, getOrSetHit, taggedHit];

/** Hits with the subjects taking turns, after what is counted rather than timed. All in one process, without a server. */
export const bench: Area = async ({ rounds = 15, timeLeftMs, say }) => {
  const rows: Row[] = [];
  const raw: Taken[] = [];
  const settings: Record<string, string> = {};
  // First, while the heap is small.
  rows.push(...(await tables(say)));
  for (const [index, open] of openings.entries()) {
    const endMs = performance.now() + timeLeftMs() / (openings.length - index);
    const comparison = await open();
    if ('skipped' in comparison) continue;
    say(`bench: ${comparison.name}`);
    const taken = await compare(comparison, rounds, () => endMs - performance.now());
    raw.push(...taken);
    rows.push(...rowsOf(comparison, taken));
    for (const { name, setting } of comparison.subjects) settings[`${comparison.name}: ${name}`] = setting;
  }
  return { rows, settings, raw };
};
