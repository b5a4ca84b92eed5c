import { startCluster } from '@plimsoll/embedded';
import pg from 'pg';
import { rowOf, shuffled, type Area } from '../report.ts';
import { cursors } from './cursors.ts';
import { sequencer } from './sequencer.ts';
import { skipLocked } from './skip-locked.ts';
import { pollMs, type Strategy } from './strategy.ts';
import { preparation, stayOpen, write, writers } from './writers.ts';

const strategies: readonly Strategy[] = [...cursors, skipLocked, sequencer];
const writeMs = 6_000;
const openMs = 3_000;
/** What has not come so long after everything else is missed: the events of no transaction are older than that. */
const patienceMs = 2_000;

const cases = {
  'short transactions': false,
  'and one that stays open for 3 s': true,
} as const;

interface Outcome {
  readonly committed: number;
  readonly missed: number;
  readonly again: number;
  readonly outOfOrder: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly perSecond: number;
}

/** Events of concurrent transactions that are committed in another order than they were written, or rolled back: who reads them all? */
export const bench: Area = async ({ rounds = 2, timeLeftMs, say }) => {
  await using cluster = await startCluster();
  const admin = new pg.Client({ connectionString: cluster.primary.url });
  await admin.connect();
  const taken: { subject: string; case: string; outcome: Outcome }[] = [];
  let databases = 0;
  let done = 0;
  const roundMs = strategies.length * Object.keys(cases).length * (writeMs + patienceMs + 1_000);
  for (; done < rounds && (done === 0 || timeLeftMs() > roundMs); done += 1) {
    for (const [name, withOpen] of Object.entries(cases)) {
      for (const strategy of shuffled(strategies)) {
        const database = `outbox_${(databases += 1)}`;
        await admin.query(`create database ${database}`);
        const url = new URL(cluster.primary.url);
        url.pathname = `/${database}`;
        const outcome = await run(strategy, url.href, withOpen);
        await admin.query(`drop database ${database} with (force)`);
        taken.push({ subject: strategy.name, case: name, outcome });
        const { committed, missed, outOfOrder, p99Ms } = outcome;
        say(
          `${name}: ${strategy.name}: missed ${missed} of ${committed}, out of order ${outOfOrder}, p99 ${p99Ms.toFixed(0)} ms`,
        );
      }
    }
  }
  await admin.end();
  const metrics = [
    ['events missed', 'events', ({ missed }) => missed],
    ['of committed', 'events', ({ committed }) => committed],
    ['out of order in their key', 'events', ({ outOfOrder }) => outOfOrder],
    ['read again', 'events', ({ again }) => again],
    ['commit to reader, p50', 'ms', ({ p50Ms }) => p50Ms],
    ['commit to reader, p99', 'ms', ({ p99Ms }) => p99Ms],
    ['commits', '/s', ({ perSecond }) => perSecond],
  ] as const satisfies readonly (readonly [string, string, (outcome: Outcome) => number])[];
  const rows = Object.keys(cases).flatMap((name) =>
    strategies.flatMap((strategy) => {
      const own = taken.filter((each) => each.case === name && each.subject === strategy.name);
      return metrics.map(([metric, unit, of]) =>
        rowOf(
          { case: name, subject: strategy.name, metric, unit },
          own.map(({ outcome }) => of(outcome)),
        ),
      );
    }),
  );
  return {
    rows,
    settings: {
      ...Object.fromEntries(strategies.map(({ name, setting }) => [name, setting])),
      all: `${writers} writers for ${writeMs / 1_000} s, 200 keys, up to 20 ms of thinking in a transaction and seldom 200, a tenth rolled back, three tenths with a transaction id from before they think; readers look every ${pollMs} ms; PostgreSQL with default durability, all in one process`,
    },
    raw: taken,
  };
};

async function run(strategy: Strategy, url: string, withOpen: boolean): Promise<Outcome> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(preparation);
  await strategy.prepare(client, url);
  await client.end();
  /** When each event came first, by key and number. */
  const came = new Map<string, number>();
  const highest = new Map<string, number>();
  let again = 0;
  let outOfOrder = 0;
  let lastMs = 0;
  const reading = await strategy.read(url, (events) => {
    lastMs = performance.now();
    for (const { key, n } of events) {
      const id = `${key} ${n}`;
      if (came.has(id)) again += 1;
      else {
        came.set(id, lastMs);
        if (n < (highest.get(key) ?? 0)) outOfOrder += 1;
        else highest.set(key, n);
      }
    }
  });
  const [committed] = await Promise.all([
    write(strategy, url, writeMs),
    ...(withOpen ? [stayOpen(url, writeMs / 4, openMs)] : []),
  ]);
  const isMissing = (): number => committed.filter(({ key, n }) => !came.has(`${key} ${n}`)).length;
  lastMs = performance.now();
  while (isMissing() > 0 && performance.now() - lastMs < patienceMs)
    await new Promise((resolve) => setTimeout(resolve, 50));
  await reading.stop();
  const lags = committed
    .flatMap(({ key, n, atMs }) => {
      const cameMs = came.get(`${key} ${n}`);
      // It may be read before its writer is told that it is committed.
      return cameMs === undefined ? [] : [Math.max(0, cameMs - atMs)];
    })
    .toSorted((a, b) => a - b);
  const p = (share: number): number => lags[Math.floor(share * (lags.length - 1))] ?? Number.NaN;
  return {
    committed: committed.length,
    missed: isMissing(),
    again,
    outOfOrder,
    p50Ms: p(0.5),
    p99Ms: p(0.99),
    perSecond: committed.length / (writeMs / 1_000),
  };
}
