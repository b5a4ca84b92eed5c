import { createBoundary } from './subjects.ts';
import { median, rowOf, shuffled, type Area } from '../report.ts';

const defaultRounds = 25;
const burstMs = 150;
const baseline = 'moleculer';

/** One call at a time: what a hop between modules costs a caller who waits for it. */
export const bench: Area = async ({ rounds = defaultRounds, timeLeftMs, say }) => {
  const boundary = await createBoundary(say);
  const { subjects } = boundary;
  try {
    for (const { name, call } of subjects) {
      const answer = await call(20);
      if (answer !== 41) throw new Error(`${name} answered ${answer}; want 41`);
      await burst(call, burstMs);
    }
    const nanoseconds = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
    const ratios = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
    const raw: Record<string, number>[] = [];
    for (let round = 0; round < rounds && timeLeftMs() > subjects.length * burstMs * 2; round += 1) {
      const taken: Record<string, number> = {};
      for (const { name, call } of shuffled(subjects)) taken[name] = await burst(call, burstMs);
      raw.push(taken);
      for (const [name, value] of Object.entries(taken)) {
        nanoseconds.get(name)?.push(value);
        ratios.get(name)?.push(value / (taken[baseline] ?? Number.NaN));
      }
    }
    if (raw.length === 0) throw new Error('no round fitted into the time; give --seconds more');
    say(
      `${raw.length} rounds; Plimsoll is at ${median(ratios.get('plimsoll') ?? []).toFixed(2)} of ${baseline}`,
    );
    return {
      raw,
      settings: Object.fromEntries(subjects.map(({ name, setting }) => [name, setting])),
      rows: subjects.flatMap(({ name: subject }) => [
        rowOf(
          { case: 'in sequence', subject, metric: 'time per call', unit: 'ns' },
          nanoseconds.get(subject) ?? [],
        ),
        rowOf(
          { case: 'in sequence', subject, metric: `to ${baseline}, same round`, unit: 'x' },
          ratios.get(subject) ?? [],
        ),
      ]),
    };
  } finally {
    await boundary.close();
  }
};

/** Nanoseconds per call. */
async function burst(call: (value: number) => Promise<number>, ms: number): Promise<number> {
  const began = performance.now();
  let calls = 0;
  let now = began;
  while (now - began < ms) {
    for (let at = 0; at < 50; at += 1) await call(at);
    calls += 50;
    now = performance.now();
  }
  return ((now - began) * 1e6) / calls;
}
