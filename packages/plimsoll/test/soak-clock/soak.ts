/** `npm run soak:clock`: clients of several processes, each held to what it has written and read, while things break. */
import { randomBytes } from 'node:crypto';
import { systemClock } from '../../src/kernel/clock.ts';
import { noRedis, startRedis } from '../../src/redis/fixtures/redis-server.ts';
import { seededRandom } from '../../src/testing/causality/random.ts';
import { CausalityChecker, describeViolation, runWorkload, type WorkloadReport } from 'plimsoll/testing';
import { cacheFaultsByKind } from './cache-faults.ts';
import { startProcess, type ServingProcess } from './child-process.ts';
import { notConverged } from './converged.ts';
import { databaseFaultsByKind } from './database-faults.ts';
import { cacheFaults, databaseFaults, type FaultContext } from './faults.ts';
import { cellsOfTable, lagTable, printLagTable, replicaReads } from './lag-table.ts';
import { runLane, type LaneRecord } from './lane.ts';
import { runSoak } from '../soak-run.ts';
import { help, readOptions, type SoakOptions } from './options.ts';
import { startProxy, throughPort } from './proxy.ts';
import { keys, startServers, type Servers } from './servers.ts';
import { systemOf } from './system.ts';

const processCount = 2;
const sessions = { fast: 20, slow: 20, returning: 20, tabs: 4 };
/** Parts of the time that is left when all has started. */
const shares = { calm: 0.08, table: 0.13 } as const;
const lastsMs = 12_000;
/** In ten minutes. */
const least = { faults: 100, ofEachKind: 3, reads: 500_000, offload: 0.95 } as const;

async function main({ minutes, seed, cacheLevel, json }: SoakOptions): Promise<boolean> {
  const startedMs = performance.now();
  const say = (line: string): void => {
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(0).padStart(4);
    if (!json) process.stderr.write(`${seconds} s  ${line}\n`);
  };
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  say(`seed ${seed}, ${minutes} minutes`);

  await using stack = new AsyncDisposableStack();
  const servers = await startServers(stack, say);
  const redis = noRedis === undefined ? await startRedis() : undefined;
  if (redis !== undefined) stack.defer(() => redis.stop());
  else say(`${noRedis}: the shared tier and the bus are tables, and the faults of Redis are left out`);
  const cacheProxy = stack.use(await startProxy(redis?.port ?? servers.proxy.port));
  const secret = randomBytes(32).toString('hex');
  const processes = await Promise.all(
    Array.from({ length: processCount }, (_, index) =>
      startProcess({
        number: index + 1,
        primaryUrl: servers.primaryUrl,
        replicaUrls: servers.all.map(({ url }) => url),
        redisUrl: redis === undefined ? undefined : throughPort(redis.url, cacheProxy.port),
        cacheUrl: throughPort(servers.primaryUrl, cacheProxy.port),
        secret,
      }),
    ),
  );
  for (const each of processes) stack.defer(() => each.stop());

  const random = seededRandom(seed);
  const [checker, processChecker] = [new CausalityChecker(), new CausalityChecker()];
  const record: LaneRecord = { happened: {}, failed: [], now: new Set() };
  const notes: Record<string, number> = {};
  const pause = (ms: number): Promise<void> => systemClock.sleep(ms, stop.signal);
  const context: FaultContext = {
    servers,
    checkers: [checker, processChecker],
    redis,
    cacheProxy,
    random,
    pause,
    notes,
  };
  const reports: WorkloadReport[] = [];
  const work = async (untilMs: number, name: string): Promise<void> => {
    const system = systemOf({
      processes,
      policy: 'routed',
      secret,
      cacheShare: 0.5,
      cacheLevel,
      processChecker,
    });
    const left = AbortSignal.timeout(Math.max(1, Math.round(untilMs - performance.now())));
    const signal = AbortSignal.any([stop.signal, left]);
    say(name);
    reports.push(await runWorkload(system, { seed, checker, signal, keys, sessions, thinkMs: 50 }));
  };
  const told = new Map<readonly unknown[], number>();
  const newsOf = <T>(all: readonly T[]): readonly T[] => {
    const news = all.slice(told.get(all) ?? 0);
    told.set(all, all.length);
    return news;
  };
  // At once: a run that breaks off tells nothing at its end.
  const tellNews = (): void => {
    for (const { violations } of [checker, processChecker])
      for (const violation of newsOf(violations)) say(describeViolation(violation));
    for (const line of newsOf(record.failed)) say(`fault not made: ${line}`);
  };
  const telling = setInterval(() => {
    tellNews();
    const faults = Object.values(record.happened).reduce((sum, count) => sum + count, 0);
    const now = record.now.size === 0 ? '' : `, now: ${[...record.now].join(', ')}`;
    say(
      `${checker.reads} reads, ${checker.writes} writes, ${faults} faults, ${checker.violationCount + processChecker.violationCount} violations${now}`,
    );
  }, 5_000);
  stack.defer(() => clearInterval(telling));
  // Before the servers go: where something fails, the rest of the run would go on.
  stack.defer(() => stop.abort());

  const totalMs = minutes * 60_000;
  const setUpMs = performance.now() - startedMs;
  const workMs = Math.max(20_000, totalMs - setUpMs);
  await work(performance.now() + workMs * shares.calm, 'nothing breaks');
  const calm = await replicaReads(processes, 'routed');
  const calmOffload = calm.onReplica / Math.max(1, calm.reads);

  const endMs = startedMs + setUpMs + workMs * (1 - shares.table);
  const isOver = (): boolean => stop.signal.aborted || performance.now() > endMs - lastsMs / 2;
  const lanes = Promise.all([
    runLane({
      kinds: databaseFaults,
      faults: databaseFaultsByKind,
      seldom: ['promotion that loses a tail', 'primary restarted'],
      context,
      record,
      isOver,
      recovered: () => recovered(servers, record),
      pauseMs: 300,
    }),
    runLane({
      kinds: cacheFaults.filter((kind) => redis !== undefined || kind.startsWith('bus')),
      faults: cacheFaultsByKind,
      seldom: [],
      context,
      record,
      isOver,
      recovered: () => Promise.resolve(),
      // Long enough for the caches to be filled and trusted again.
      pauseMs: 1_500,
    }),
  ]);
  await Promise.all([work(endMs, 'things break'), lanes]);
  const broken = await replicaReads(processes, 'routed');
  const offloadUnderFaults = (broken.onReplica - calm.onReplica) / Math.max(1, broken.reads - calm.reads);

  const apart = stop.signal.aborted ? [] : await notConverged(servers, processes);
  const cache = await cacheShares(processes);
  say('how late replicas are, against what is done about it');
  const cellMs = (workMs * shares.table) / (cellsOfTable + 1);
  const rows = await lagTable({ servers, processes, secret, seed, cellMs, signal: stop.signal, say });
  clearInterval(telling);

  const faults = Object.values(record.happened).reduce((sum, count) => sum + count, 0);
  const part = minutes / 10;
  const unmet: string[] = [];
  const want = (what: string, got: number, wanted: number): void => {
    if (got < wanted) unmet.push(`${what}: ${got}, wanted ${wanted}`);
  };
  want('faults', faults, Math.floor(least.faults * part));
  want('reads', checker.reads, Math.floor(least.reads * part));
  want('offload while nothing breaks', calmOffload, least.offload);
  for (const kind of [...databaseFaults, ...(redis === undefined ? [] : cacheFaults)])
    want(kind, record.happened[kind] ?? 0, Math.floor(least.ofEachKind * part));
  if (stop.signal.aborted) unmet.push('it was ended before its time');

  const operations = reports.reduce((sum, report) => sum + report.operations, 0);
  const violations = checker.violationCount + processChecker.violationCount + apart.length;
  if (!json) {
    tellNews();
    for (const line of apart) process.stderr.write(`${line}\n`);
    for (const line of unmet) process.stderr.write(`unmet: ${line}\n`);
    if (rows.length > 0) process.stderr.write(`\n${printLagTable(rows)}\n\n`);
  }
  process.stdout.write(
    `${JSON.stringify({
      soak: 'clock',
      seed,
      minutes: rounded((performance.now() - startedMs) / 60_000),
      operations,
      reads: checker.reads,
      writes: checker.writes,
      unknownWrites: checker.unknown,
      failedReads: reports.reduce((sum, report) => sum + report.failedReads, 0),
      faults,
      faultsByKind: record.happened,
      faultsNotMade: record.failed.length,
      violations,
      violationsByGuarantee: checker.violationsByGuarantee,
      invalidatedAndOlder: processChecker.violationCount,
      notConverged: apart.length,
      offload: rounded(calmOffload),
      offloadUnderFaults: rounded(offloadUnderFaults),
      cache,
      redis: redis !== undefined,
      cacheLevel,
      handOvers: sumOf(reports.map(({ handOvers }) => handOvers)),
      failures: topOf(sumOf(reports.map(({ failures }) => failures))),
      notes,
      unmet,
      lag: rows.map((row) => ({ ...row, offload: rounded(row.offload) })),
    })}\n`,
  );
  return violations === 0 && unmet.length === 0;
}

/** Both standbys stream and have what the primary has; one that cannot is seeded anew. */
async function recovered(servers: Servers, record: LaneRecord): Promise<void> {
  // Where a promotion could not be made it is down.
  if (!servers.primary.running) await servers.primary.restart();
  for (const standby of servers.standbys()) {
    try {
      if (!standby.running) await standby.restart();
      await standby.caughtUp({ timeoutMs: 10_000 });
    } catch (error) {
      record.failed.push(`${standby.name} did not catch up and was seeded anew: ${String(error)}`);
      await standby.reseed(servers.primary);
    }
  }
}

async function cacheShares(processes: readonly ServingProcess[]): Promise<Record<string, number>> {
  const all = await Promise.all(processes.map((each) => each.stats()));
  return sumOf(all.map(({ cache }) => ({ ...cache })));
}

function sumOf(parts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const part of parts)
    for (const [name, count] of Object.entries(part)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}

const topOf = (counts: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(counts)
      .toSorted((one, other) => other[1] - one[1])
      .slice(0, 8),
  );

const rounded = (value: number): number => Math.round(value * 10_000) / 10_000;

await runSoak(async () => {
  const options = readOptions();
  if (options !== undefined) return main(options);
  process.stdout.write(`${help}\n`);
  return true;
});
