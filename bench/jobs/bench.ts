import { startCluster, createTestDatabase, type Cluster } from '@plimsoll/embedded';
import pg from 'pg';
import { rowOf, shuffled, type Area, type Row } from '../report.ts';
import { graphile, pgBoss, plimsoll, type Effect, type Opened, type Subject } from './subjects.ts';

interface Case {
  readonly name: string;
  readonly metric: string;
  readonly unit: string;
  readonly effect: Effect;
  readonly subjects: readonly Subject[];
  run(opened: Opened, state: State): Promise<number>;
}

/** What the jobs of one subject in one round have told. */
interface State {
  readonly startedAtMs: Map<number, number>;
}

const perSecond = (count: number, sinceMs: number): number => (count * 1_000) / (performance.now() - sinceMs);
const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

async function until(done: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 120_000;
  while (!(await done())) {
    if (performance.now() > endMs) throw new Error('jobs were not done after two minutes');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function enqueue(opened: Opened): Promise<number> {
  const [count, callers] = [3_000, 50];
  let next = 0;
  const sinceMs = performance.now();
  await Promise.all(
    numbers(callers).map(async () => {
      while (next < count) await opened.add(next++);
    }),
  );
  const rate = perSecond(count, sinceMs);
  if ((await opened.left()) < count) throw new Error('not all jobs were written');
  return rate;
}

const drain =
  (count: number) =>
  async (opened: Opened): Promise<number> => {
    for (let from = 0; from < count; from += 1_000) await opened.addAll(numbers(1_000).map((n) => from + n));
    const sinceMs = performance.now();
    await opened.work();
    await until(async () => (await opened.left()) === 0);
    return perSecond(count, sinceMs);
  };

/** At 200 jobs a second for five seconds, from before the call to the start of the handler; the 99th percentile. */
async function latency(opened: Opened, { startedAtMs }: State): Promise<number> {
  const [count, everyMs] = [1_000, 5];
  await opened.work();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const sentAtMs: number[] = [];
  const adding: Promise<unknown>[] = [];
  const sinceMs = performance.now();
  for (let n = 0; n < count; n += 1) {
    const waitMs = sinceMs + n * everyMs - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    sentAtMs.push(performance.now());
    adding.push(opened.add(n));
  }
  await Promise.all(adding);
  await until(async () => startedAtMs.size >= count);
  const lags = sentAtMs.map((atMs, n) => (startedAtMs.get(n) ?? Infinity) - atMs).toSorted((a, b) => a - b);
  return lags[Math.floor(count * 0.99)] ?? Number.NaN;
}

const alone: readonly Subject[] = [plimsoll(false), graphile, pgBoss];
const cases: readonly Case[] = [
  {
    name: 'enqueue, 50 callers',
    metric: 'rate',
    unit: 'jobs/s',
    effect: 'nothing',
    subjects: alone,
    run: enqueue,
  },
  {
    name: 'drain, jobs without effect',
    metric: 'rate',
    unit: 'jobs/s',
    effect: 'nothing',
    subjects: alone,
    run: drain(20_000),
  },
  {
    name: 'drain, a row each',
    metric: 'rate',
    unit: 'jobs/s',
    effect: 'row',
    subjects: [plimsoll(true), ...alone],
    run: drain(5_000),
  },
  {
    name: 'enqueue to start, 200/s',
    metric: 'p99',
    unit: 'ms',
    effect: 'nothing',
    subjects: alone,
    run: latency,
  },
];

/** Each subject of each round has a database of its own, on one server with its default durability. */
export const bench: Area = async ({ rounds = 3, timeLeftMs, say }) => {
  const cluster = await startCluster();
  const taken: { case: string; subject: string; value: number }[] = [];
  try {
    for (let round = 0; round < rounds; round += 1) {
      for (const one of cases) {
        for (const subject of shuffled(one.subjects)) {
          if (timeLeftMs() < 0) break;
          const value = await measure(cluster, one, subject);
          taken.push({ case: one.name, subject: subject.name, value });
          say(`bench: ${one.name}, ${subject.name}: ${Math.round(value)} ${one.unit}`);
        }
      }
    }
  } finally {
    await cluster.stop();
  }
  const rows: Row[] = cases.flatMap(({ name, metric, unit, subjects }) =>
    subjects.flatMap(({ name: subject }) => {
      const values = taken.filter((each) => each.case === name && each.subject === subject);
      return values.length === 0
        ? []
        : [
            rowOf(
              { case: name, subject, metric, unit },
              values.map(({ value }) => value),
            ),
          ];
    }),
  );
  const settings = Object.fromEntries([plimsoll(true), ...alone].map(({ name, setting }) => [name, setting]));
  return { rows, settings, raw: taken };
};

async function measure(cluster: Cluster, one: Case, subject: Subject): Promise<number> {
  const server = await createTestDatabase({ primaryUrl: cluster.primary.url });
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await client.query('create table effect (n int not null)');
  const state: State = { startedAtMs: new Map() };
  const opened = await subject.open(server.url, one.effect, (n) =>
    state.startedAtMs.set(n, performance.now()),
  );
  try {
    const value = await one.run(opened, state);
    if (one.effect === 'row') {
      const { rows } = await client.query<{ all: number; distinct: number }>(
        'select count(*)::int as "all", count(distinct n)::int as "distinct" from effect',
      );
      const [counted] = rows;
      if (counted === undefined || counted.all !== counted.distinct || counted.all !== 5_000)
        throw new Error(`${subject.name}: ${JSON.stringify(counted)} effects of 5000 jobs`);
    }
    return value;
  } finally {
    await opened.close();
    await client.end();
    await server.drop();
  }
}
