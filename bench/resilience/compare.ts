import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { rowOf, shuffled, type Row } from '../report.ts';

export interface Subject {
  /** Unique in its comparison. */
  readonly name: string;
  readonly setting: string;
  /** Throws when the subject does not do its job. Once, before anything is timed. */
  readonly prove: () => Promise<void>;
  /** Before each burst, not timed. */
  readonly prepare?: () => Promise<void>;
  /** Does so many operations; throws when they did not come out as they should. */
  readonly run: (operations: number) => Promise<void>;
}

export interface Comparison {
  readonly name: string;
  /** Whose cost the others are divided by. */
  readonly baseline: string;
  readonly subjects: readonly Subject[];
  readonly burstMs: number;
  /** Of one burst, where more would change what is measured. */
  readonly mostOperations?: number;
  /** Where most of the work is done by a server: operations in a second are told too. */
  readonly withServer?: boolean;
  close?(): Promise<void>;
}

/** A comparison that cannot be made here. */
export interface Skipped {
  readonly name: string;
  readonly skipped: string;
}

export type Opening = () => Promise<Comparison | Skipped>;

export interface Taken {
  readonly case: string;
  readonly subject: string;
  readonly round: number;
  /** User and system time of this process, per operation. */
  readonly cpuNs: number;
  readonly perSecond: number;
}

/**
 * What one subject leaves to the garbage collector is not charged to the next. The young generation only: a full
 * collection also throws compiled code away, after which a policy cost two to four times as much.
 */
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as (options: { readonly type: 'minor' }) => void;

/** Everybody takes a turn in each round, in an order of its own. */
export async function compare(
  { name, subjects, burstMs, mostOperations = Infinity }: Comparison,
  rounds: number,
  timeLeftMs: () => number,
): Promise<Taken[]> {
  for (const { prove } of subjects) await prove();
  const operations = new Map<Subject, number>();
  let roundMs = 0;
  for (const subject of subjects) {
    const { count, ms } = await calibrated(subject, burstMs, mostOperations);
    operations.set(subject, count);
    roundMs += ms;
  }
  const taken: Taken[] = [];
  for (let round = 0; round < rounds && timeLeftMs() > roundMs; round += 1) {
    const began = performance.now();
    for (const subject of shuffled(subjects)) {
      const { cpuNs, perSecond } = await burst(subject, operations.get(subject) ?? 1);
      taken.push({ case: name, subject: subject.name, round, cpuNs, perSecond });
    }
    roundMs = performance.now() - began;
  }
  if (taken.length === 0) throw new Error(`${name}: no round fitted into the time; give --seconds more`);
  return taken;
}

/** How many operations take `burstMs`, found by doing them, which also warms up. */
async function calibrated(
  subject: Subject,
  burstMs: number,
  most: number,
): Promise<{ readonly count: number; readonly ms: number }> {
  let count = 1;
  for (;;) {
    const began = performance.now();
    const { perSecond } = await burst(subject, count);
    const ms = performance.now() - began;
    const next = Math.max(1, Math.min(most, count * 10, Math.round((perSecond * burstMs) / 1_000)));
    // The first runs are slow, so it may still grow a little.
    if (next <= count * 1.2) return { count: next, ms };
    count = next;
  }
}

async function burst(subject: Subject, operations: number): Promise<Pick<Taken, 'cpuNs' | 'perSecond'>> {
  await subject.prepare?.();
  collectGarbage({ type: 'minor' });
  const began = performance.now();
  const before = process.cpuUsage();
  await subject.run(operations);
  const { user, system } = process.cpuUsage(before);
  const ms = performance.now() - began;
  return { cpuNs: ((user + system) * 1_000) / operations, perSecond: (operations * 1_000) / ms };
}

/** One subject's figures against another's, round by round. */
export function paired(
  figure: 'cpuNs' | 'perSecond',
  of: readonly Taken[],
  to: readonly Taken[],
): readonly number[] {
  return of.flatMap((one) => {
    const other = to.find(({ round }) => round === one.round);
    return other === undefined ? [] : [one[figure] / other[figure]];
  });
}

export function rowsOf(comparison: Comparison, taken: readonly Taken[]): Row[] {
  const { name, baseline, subjects, withServer = false } = comparison;
  const by = (subject: string): Taken[] => taken.filter((one) => one.subject === subject);
  return subjects.flatMap(({ name: subject }) => {
    const about = { case: name, subject };
    const own = by(subject);
    return [
      rowOf(
        { ...about, metric: 'CPU per operation', unit: 'ns' },
        own.map(({ cpuNs }) => cpuNs),
      ),
      rowOf(
        { ...about, metric: `CPU to ${baseline}, same round`, unit: 'x' },
        paired('cpuNs', own, by(baseline)),
      ),
      ...(withServer
        ? [
            rowOf(
              { ...about, metric: 'throughput', unit: 'op/s' },
              own.map(({ perSecond }) => perSecond),
            ),
            rowOf(
              { ...about, metric: `throughput to ${baseline}, same round`, unit: 'x' },
              paired('perSecond', own, by(baseline)),
            ),
          ]
        : []),
    ];
  });
}
