import { startCluster } from '@plimsoll/embedded';
import { median, rowOf, shuffled, type Area } from '../report.ts';
import { openSubjects, type Subject } from './subjects.ts';

const defaultRounds = 12;
const burstMs = 500;
const concurrency = 32;

interface Taken {
  readonly p50Ms: number;
  readonly perSecond: number;
  /** Undefined without keys. */
  readonly replayP50Ms: number | undefined;
}

let keys = 0;

/** What a key costs: one at a time, many at once, and the second time. Each beside the same work without a key. */
export const bench: Area = async ({ rounds = defaultRounds, timeLeftMs, say }) => {
  const cluster = await startCluster();
  const opened = await openSubjects(cluster.primary.url);
  try {
    const { subjects } = opened;
    for (const subject of subjects) await burst(subject);
    const taken = new Map<string, Taken[]>(subjects.map(({ name }) => [name, []]));
    const roundMs = subjects.length * burstMs * 2.5;
    let done = 0;
    for (; done < rounds && timeLeftMs() > roundMs * 1.2; done += 1)
      for (const subject of shuffled(subjects)) taken.get(subject.name)?.push(await burst(subject));
    if (done === 0) throw new Error('no round fitted into the time; give --seconds more');
    const of = (name: string): readonly Taken[] => taken.get(name) ?? [];
    const ratios = ({ name, baseline }: Subject): number[] =>
      of(name).map(({ p50Ms }, round) => p50Ms / (of(baseline)[round]?.p50Ms ?? Number.NaN));
    const rows = subjects.flatMap((subject) => {
      const { name, keyed } = subject;
      const row = (metric: string, unit: string, values: readonly number[]) =>
        rowOf({ case: keyed ? 'with a key' : 'without', subject: name, metric, unit }, values);
      return [
        row(
          'in sequence, p50',
          'ms',
          of(name).map(({ p50Ms }) => p50Ms),
        ),
        ...(keyed ? [row('to the same without, same round', 'x', ratios(subject))] : []),
        row(
          `${concurrency} at once`,
          '/s',
          of(name).map(({ perSecond }) => perSecond),
        ),
        ...(keyed
          ? [
              row(
                'replay, p50',
                'ms',
                of(name).map(({ replayP50Ms = Number.NaN }) => replayP50Ms),
              ),
            ]
          : []),
      ];
    });
    say(`${done} rounds`);
    return {
      rows,
      settings: Object.fromEntries(subjects.map(({ name, setting }) => [name, setting])),
      raw: Object.fromEntries(taken),
    };
  } finally {
    await opened.close();
    await cluster.stop();
  }
};

async function burst({ work, keyed }: Subject): Promise<Taken> {
  const used: string[] = [];
  const fresh = (): string => {
    const key = `key ${(keys += 1)}`;
    used.push(key);
    return key;
  };
  const inSequence = await timed(() => work(fresh()), burstMs);
  const endMs = performance.now() + burstMs;
  let count = 0;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (performance.now() < endMs) {
        await work(fresh());
        count += 1;
      }
    }),
  );
  let again = 0;
  const replays = keyed ? await timed(() => work(used[(again += 1) % used.length] ?? ''), burstMs / 2) : [];
  return {
    p50Ms: median(inSequence),
    perSecond: count / (burstMs / 1_000),
    replayP50Ms: keyed ? median(replays) : undefined,
  };
}

async function timed(work: () => Promise<unknown>, ms: number): Promise<number[]> {
  const endMs = performance.now() + ms;
  const tookMs: number[] = [];
  let beganMs = performance.now();
  while (beganMs < endMs) {
    await work();
    const now = performance.now();
    tookMs.push(now - beganMs);
    beganMs = now;
  }
  return tookMs;
}
