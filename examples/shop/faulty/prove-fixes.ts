import { setTimeout as sleep } from 'node:timers/promises';
import type { DoctorReport, Finding } from '@plimsoll/cli/doctor';
import type { LoadReport } from '@plimsoll/cli/load';
import { sql, type AppTelemetry } from 'plimsoll';
import type { Session } from 'plimsoll/database';

/** With `faulty` the list of a customer's orders has its N+1 queries. */
export type Handlers = 'faulty' | 'healthy';

export interface FaultyShop {
  /** On the primary. */
  readonly session: Session;
  /** Ends the shop that runs, if any, and starts it anew; answers its URL. */
  readonly restart: (handlers: Handlers) => Promise<string>;
  /** Resolves when the replicas have all that the primary has. */
  readonly caughtUp: () => Promise<void>;
  /** The same scenario, seed and settings each time. */
  readonly measure: (target: string) => Promise<LoadReport>;
  readonly diagnose: (target: string) => Promise<DoctorReport>;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface Measurement {
  readonly name: string;
  /** Of `slowOperation`, counted by the shop in this measurement; executions that timed out ran fewer. */
  readonly statementsPerExecution: number;
  readonly load: LoadReport;
}

export interface Proof {
  readonly before: DoctorReport;
  /** With both faults first, then after each fix, which stays. */
  readonly measurements: readonly Measurement[];
  /** With all fixes. */
  readonly after: DoctorReport;
}

/** Both faults are in it. */
export const slowOperation = 'orders.byCustomer';

/**
 * Measures the shop with its faults, lets the doctor find them, makes the fix of one finding after the other
 * for real, the dearest first, and measures again after each. Every measurement begins alike: a shop just
 * started, nothing left to do from the one before, tables vacuumed, a checkpoint behind it.
 */
export async function proveFixes(shop: FaultyShop): Promise<Proof> {
  const { say, session, signal } = shop;
  let handlers: Handlers = 'faulty';
  const measurements: Measurement[] = [];

  const measureAs = async (name: string): Promise<string> => {
    await session.execute(sql`vacuum (analyze)`);
    await session.execute(sql`checkpoint`);
    await shop.caughtUp();
    const target = await shop.restart(handlers);
    signal.throwIfAborted();
    say(`measuring: ${name}`);
    const load = await shop.measure(target);
    signal.throwIfAborted();
    const { perExecution } = statementsOf(await readTelemetry(target));
    measurements.push({ name, statementsPerExecution: perExecution, load });
    await settled(target, say, signal);
    return target;
  };

  let target = await measureAs('with both faults');
  const before = await shop.diagnose(target);
  for (const finding of before.findings) {
    const fix = fixOf(finding);
    if (fix === undefined) {
      say(`left as it is, since only its author can fix it: ${finding.title}`);
      continue;
    }
    say(`fixing: ${fix.sql ?? `the shop without N+1 queries in ${slowOperation}`}`);
    if (fix.sql === undefined) handlers = 'healthy';
    else await session.execute(sql(Object.assign([fix.sql], { raw: [fix.sql] })));
    target = await measureAs(fix.name);
  }
  return { before, measurements, after: await shop.diagnose(target) };
}

/** The index as the doctor wrote it; the handler as the healthy shop has it. */
function fixOf({ rule, operations, table, fix }: Finding): { name: string; sql?: string } | undefined {
  if (fix.sql !== undefined) return { name: `+ index on ${table}`, sql: fix.sql };
  return rule === 'n-plus-one' && operations.includes(slowOperation)
    ? { name: '+ no N+1 queries' }
    : undefined;
}

async function readTelemetry(target: string): Promise<AppTelemetry> {
  const answer = await fetch(`${target}/-/telemetry`, { signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw new Error(`${target}/-/telemetry answered ${answer.status}`);
  return (await answer.json()) as AppTelemetry;
}

function statementsOf({ statementsPerOperation }: AppTelemetry): { readonly perExecution: number } {
  const found = statementsPerOperation.find(({ operation }) => operation === slowOperation);
  const runs = (found?.statements ?? []).reduce((sum, { total }) => sum + total, 0);
  return { perExecution: runs / Math.max(1, found?.executions ?? 0) };
}

/** Orders go on after the load has ended: events, charges, mails. They would slow down what comes next. */
async function settled(target: string, say: (line: string) => void, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const { outbox, ready, running } = (await readTelemetry(target)).tasks;
    const left = outbox + ready + running;
    if (left === 0) return;
    if (performance.now() > deadline) {
      say(`${left} events and tasks of this measurement are still to be done; the next one may suffer`);
      return;
    }
    await sleep(200, undefined, { signal });
  }
}
