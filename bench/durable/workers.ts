import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Taken } from './enqueue.ts';
import type { OpenQueue, Servers, Subject } from './subject.ts';

interface Started {
  readonly n: number;
  readonly atMs: number;
}

export const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface WorkerProcess {
  readonly process: ChildProcess;
  /** By job. */
  readonly started: Map<number, number>;
}

async function startWorker(subject: Subject, servers: Servers): Promise<WorkerProcess> {
  const child = fork(path.join(import.meta.dirname, 'child.ts'), [subject.name, JSON.stringify(servers)], {
    execArgv: ['--conditions=plimsoll:source'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const started = new Map<number, number>();
  const ready = Promise.withResolvers<void>();
  child.on('message', (message: Started | { readonly ready: true }) => {
    if ('ready' in message) ready.resolve();
    else started.set(message.n, message.atMs);
  });
  child.on('exit', () => ready.reject(new Error(`the worker of ${subject.name} has ended`)));
  ready.promise.catch(() => undefined);
  await ready.promise;
  return { process: child, started };
}

async function end({ process: child }: WorkerProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

const quantile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ??
  Number.NaN;

/** From before the call that enqueues to when the job begins, in another process. Open model. */
export async function startLatency(
  subject: Subject,
  queue: OpenQueue,
  servers: Servers,
  { perSecond, jobs, mostMs }: { readonly perSecond: number; readonly jobs: number; readonly mostMs: number },
): Promise<readonly Taken[]> {
  const worker = await startWorker(subject, servers);
  try {
    const first = 1_000_000;
    const sent: number[] = [];
    const adding: Promise<unknown>[] = [];
    const beganMs = nowMs();
    while (sent.length < jobs) {
      const due = Math.min(jobs, Math.floor(((nowMs() - beganMs) / 1_000) * perSecond) + 1);
      while (sent.length < due) {
        sent.push(nowMs());
        adding.push(queue.add(first + sent.length - 1));
      }
      await pause(1);
    }
    await Promise.allSettled(adding);
    const untilMs = nowMs() + mostMs;
    while (worker.started.size < jobs && nowMs() < untilMs) await pause(10);
    // What has not begun by now has waited at least so long.
    const waits = sent.map((atMs, n) => (worker.started.get(first + n) ?? nowMs()) - atMs);
    const name = `start after enqueue, ${perSecond}/s`;
    return [0.5, 0.99].map((share) => ({
      case: name,
      metric: `p${share * 100}`,
      unit: 'ms',
      value: quantile(waits, share),
    }));
  } finally {
    await end(worker);
  }
}

/** From kill -9 of the worker whose job is under way, with another one there, to when that one begins it. */
export async function recovery(
  subject: Subject,
  queue: OpenQueue,
  servers: Servers,
  mostMs: number,
): Promise<Taken & { readonly recovered: boolean }> {
  const doomed = await startWorker(subject, servers);
  let heir: WorkerProcess | undefined;
  try {
    await queue.add(-1);
    const untilMs = nowMs() + 10_000;
    while (!doomed.started.has(-1) && nowMs() < untilMs) await pause(2);
    if (!doomed.started.has(-1)) throw new Error(`${subject.name}: the job did not begin`);
    heir = await startWorker(subject, servers);
    const killedMs = nowMs();
    await end(doomed);
    while (!heir.started.has(-1) && nowMs() - killedMs < mostMs) await pause(2);
    const value = (heir.started.get(-1) ?? killedMs + mostMs) - killedMs;
    return {
      case: `begun again after kill -9 (not later than ${mostMs / 1_000} s)`,
      metric: 'after',
      unit: 'ms',
      value,
      recovered: heir.started.has(-1),
    };
  } finally {
    await end(doomed);
    if (heir !== undefined) await end(heir);
  }
}
