import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { startCluster } from '@plimsoll/embedded';
import { createDatabase, sql, type Database } from 'plimsoll/database';
import { createViewBuilder, listViews, prepareViews } from 'plimsoll/views';
import { rowOf, type Area, type Row } from '../report.ts';
import { upsertEach } from './by-hand.ts';
import type { Rebuilt } from './child.ts';
import { applicationName, fillLog, places } from './view.ts';

const events = 1_000_000;
const articles = 20_000;
/** Of the log, for those who would take minutes for all of it. */
const byHandEvents = { alone: 5_000, together: 20_000 } as const;

interface Measured extends Rebuilt {
  /** Of the process that builds, as the server saw it; ms. */
  readonly longestTransactionMs: number;
  /** Of reads of the live table meanwhile, ms. */
  readonly readP50Ms: number;
  readonly readP99Ms: number;
}

/** A million events are built anew beside the live table, in a process of its own, while somebody reads that. */
export const bench: Area = async ({ rounds = 1, timeLeftMs, say }) => {
  await using cluster = await startCluster();
  const { url } = cluster.primary;
  await using database = createDatabase({ url, pool: { max: 4, statementTimeoutMs: 600_000 } });
  await fillLog(database, events, articles);
  await prepareViews({ database, log: database }, places);
  await buildLive(database);
  say(`a log of ${events} events about ${articles} articles, and the view that it makes`);
  const taken: { subject: string; case: string; metric: string; unit: string; value: number }[] = [];
  const rebuilds = [
    { subject: 'plimsoll, no rest', restShare: 0 },
    { subject: 'plimsoll, half at rest (default)', restShare: 0.5 },
  ];
  let done = 0;
  for (; done < rounds && (done === 0 || timeLeftMs() > 60_000); done += 1) {
    for (const { subject, restShare } of rebuilds) {
      const measured = await measure(url, database, restShare);
      const { seconds, beforeMiB, peakMiB, longestTransactionMs, readP50Ms, readP99Ms } = measured;
      const note = (metric: string, unit: string, value: number): void =>
        void taken.push({ subject, case: `rebuild of ${events} events`, metric, unit, value });
      note('rate', 'events/s', events / seconds);
      note('longest transaction', 'ms', longestTransactionMs);
      note('resident memory, before', 'MiB', beforeMiB);
      note('resident memory, at most', 'MiB', peakMiB);
      note('a read of the live table, p50', 'ms', readP50Ms);
      note('a read of the live table, p99', 'ms', readP99Ms);
      say(`${subject}: ${Math.round(events / seconds)} events/s`);
    }
    for (const [subject, inTransaction, some] of [
      ['by hand, a transaction for each event', 1, byHandEvents.alone],
      ['by hand, an upsert for each event, 500 in a transaction', 500, byHandEvents.together],
    ] as const) {
      const value = await upsertEach(url, some, inTransaction);
      taken.push({ subject, case: `the first ${some} events`, metric: 'rate', unit: 'events/s', value });
      say(`${subject}: ${Math.round(value)} events/s`);
    }
  }
  const groups = Map.groupBy(taken, (each) => `${each.subject}\n${each.metric}`);
  const rows = [...groups.values()].flatMap((group): Row[] => {
    const [first] = group;
    if (first === undefined) return [];
    const { value: _value, ...of } = first;
    return [
      rowOf(
        of,
        group.map(({ value }) => value),
      ),
    ];
  });
  return {
    rows,
    settings: {
      plimsoll: `createViewBuilder with its defaults but for the rest; payloads validated by zod; each stretch of ${articles} events is about ${articles} articles, so that folding spares few rows`,
      'by hand': 'pg, one awaited upsert for each event, position in the transaction, nothing validated',
      all: 'PostgreSQL with default durability; the builder in a process of its own',
    },
    raw: taken,
  };
};

async function buildLive(database: Database): Promise<void> {
  const builder = createViewBuilder({ database, views: places, restShare: 0 });
  await builder.start();
  try {
    for (;;) {
      const [live] = await listViews({ database, log: database });
      if (live?.behind === 0) break;
      if (live?.failure) throw new Error(live.failure.message);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    await builder.stop();
  }
}

async function measure(url: string, database: Database, restShare: number): Promise<Measured> {
  const child = fork(path.join(import.meta.dirname, 'child.ts'), [url, String(restShare)], {
    execArgv: ['--conditions=plimsoll:source'],
    env: { ...process.env, NODE_ENV: 'production' },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const rebuilt = new Promise<Rebuilt>((resolve, reject) => {
    child.once('message', (message) => resolve(message as Rebuilt));
    child.once('exit', (code) => reject(new Error(`the builder ended with ${code}`)));
  });
  let running = true;
  const ended = rebuilt.finally(() => (running = false)).catch(() => undefined);
  const reads: number[] = [];
  let longestTransactionMs = 0;
  while (running) {
    const askedMs = performance.now();
    await database.query(sql`select * from stock.levels where sku = 'sku 7'`);
    reads.push(performance.now() - askedMs);
    const { ms } = await database.one<{ ms: number }>(sql`
      select coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)::float8 * 1000 as ms
      from pg_stat_activity where application_name = ${applicationName}`);
    longestTransactionMs = Math.max(longestTransactionMs, ms);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await ended;
  const result = await rebuilt;
  if (child.exitCode === null) await once(child, 'exit');
  reads.sort((a, b) => a - b);
  const p = (share: number): number => reads[Math.floor(share * (reads.length - 1))] ?? Number.NaN;
  return { ...result, longestTransactionMs, readP50Ms: p(0.5), readP99Ms: p(0.99) };
}
