import { setTimeout as sleep } from 'node:timers/promises';
import { appDelta, readApp } from './app-window.ts';
import { DoctorError } from './doctor-error.ts';
import { ranked, type DoctorReport, type OperationCost } from './finding.ts';
import { describeMissed } from './missed-invalidation.ts';
import { findMissingIndexes } from './missing-index.ts';
import { findNPlusOne } from './n-plus-one.ts';
import { p95Of, readTimes, timesDelta, type OperationTimes } from './operation-times.ts';
import { readServers, serverDelta } from './server-statements.ts';
import { shapeOf } from './statement-text.ts';

export interface ExamineOptions {
  /** The running app, such as `http://127.0.0.1:3000`. */
  readonly target: string;
  readonly databaseUrl: string;
  /** Their statements count as well: queries run there. */
  readonly replicaUrls?: readonly string[];
  /** How long to watch. Default 20_000. */
  readonly windowMs?: number;
  /** What a finding tells to run for proof. Default `plimsoll load --seed 1`. */
  readonly verify?: string;
  readonly signal?: AbortSignal;
}

export const doctorDefaults = { windowMs: 20_000, verify: 'plimsoll load --seed 1' } as const;

/** Watches a running app and its database for a while and tells what is wrong. Changes nothing. */
export async function examine(options: ExamineOptions): Promise<DoctorReport> {
  const { windowMs, verify, signal } = {
    ...doctorDefaults,
    signal: new AbortController().signal,
    ...options,
  };
  const target = options.target.replace(/\/+$/, '');
  const urls = [options.databaseUrl, ...(options.replicaUrls ?? [])];

  const serversBefore = await readServers(urls);
  const appBefore = await readApp(target, signal);
  const timesBefore = await readTimes(target, signal);
  const startedMs = performance.now();
  await sleep(windowMs, undefined, { signal });
  const appAfter = await readApp(target, signal);
  const watchedMs = performance.now() - startedMs;
  const timesAfter = await readTimes(target, signal);
  const serversAfter = await readServers(urls);

  const operations = appDelta(appBefore.statements, appAfter.statements).filter(
    ({ executions }) => executions > 0,
  );
  const executions = operations.reduce((sum, one) => sum + one.executions, 0);
  if (executions === 0)
    throw new DoctorError(
      'PL_DOCTOR_IDLE',
      `no operation ran at ${target} within ${windowMs / 1_000} s; the doctor sees only what runs, so use the app meanwhile, or load it with \`plimsoll load\``,
    );

  const blindSpots: string[] = [];
  if (timesAfter === undefined)
    blindSpots.push(`how long the operations take: ${target}/-/metrics does not answer`);
  const operationCostOf = operationCosts(operations, timesBefore, timesAfter);
  const found = [...findNPlusOne({ operations, windowMs: watchedMs, operationCostOf, verify })];
  let ran: ReturnType<typeof serverDelta> | null = null;
  if (serversBefore.ok && serversAfter.ok) {
    ran = serverDelta(serversBefore.statements, serversAfter.statements);
    const indexes = await findMissingIndexes({
      databaseUrl: options.databaseUrl,
      statements: ran,
      windowMs: watchedMs,
      operationsOf: operationIndex(operations),
      operationCostOf,
      verify,
      signal,
    });
    found.push(...indexes.findings);
    blindSpots.push(...indexes.blindSpots);
  } else {
    const why = [serversBefore, serversAfter].find((reading) => !reading.ok);
    blindSpots.push(`missing indexes: ${why?.ok === false ? why.why : 'the servers could not be read'}`);
  }
  return {
    target,
    windowMs: Math.round(watchedMs),
    findings: [...appAfter.missed.map(describeMissed), ...ranked(found)],
    examined: {
      operations: operations.length,
      executions,
      statements: ran === null ? null : ran.length,
      databaseMs: ran === null ? null : ran.reduce((sum, { totalMs }) => sum + totalMs, 0),
    },
    blindSpots,
  };
}

/** Which operations run a statement, whether its text comes from the app or from the server. */
function operationIndex(operations: ReturnType<typeof appDelta>): (text: string) => readonly string[] {
  const byShape = new Map<string, Set<string>>();
  for (const { operation, statements } of operations) {
    for (const { text, total } of statements) {
      if (total === 0) continue;
      const shape = shapeOf(text);
      byShape.set(shape, (byShape.get(shape) ?? new Set()).add(operation));
    }
  }
  return (text) => [...(byShape.get(shapeOf(text)) ?? [])];
}

/** Of some operations, the one that waits the longest for a statement, and what that is of its time. */
function operationCosts(
  operations: ReturnType<typeof appDelta>,
  before: ReadonlyMap<string, OperationTimes> | undefined,
  after: ReadonlyMap<string, OperationTimes> | undefined,
): (text: string, among: readonly string[]) => OperationCost | undefined {
  return (text, among) => {
    const shape = shapeOf(text);
    const spentMs = (statements: (typeof operations)[number]['statements']): number =>
      statements.reduce((sum, one) => (shapeOf(one.text) === shape ? sum + one.totalMs : sum), 0);
    const [dearest] = operations
      .filter(({ operation }) => among.includes(operation))
      .map(({ operation, statements }) => ({ name: operation, ms: spentMs(statements) }))
      .toSorted((a, b) => b.ms - a.ms);
    const now = dearest === undefined ? undefined : after?.get(dearest.name);
    if (dearest === undefined || now === undefined) return undefined;
    const times = timesDelta(before?.get(dearest.name), now);
    if (times.count === 0) return undefined;
    return {
      name: dearest.name,
      meanMs: times.totalMs / times.count,
      p95: p95Of(times),
      // Statements that run side by side take more than the operation does.
      share: Math.min(1, dearest.ms / times.totalMs),
    };
  };
}
