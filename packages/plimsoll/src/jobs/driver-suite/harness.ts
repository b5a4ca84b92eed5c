import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Jobs, JobWorker, JobWorkerOptions } from '../jobs.ts';
import type { JobFunction, RunningJob } from '../running-job.ts';

/** A driver of jobs whose promises are to be tried, on a real server. */
export interface TriedJobDriver {
  /** For jobs of these names, which no other case uses. Whoever made it closes it, when all cases are over. */
  open(names: readonly string[]): Jobs;
  /** Starts a process that runs {@link workUntilKilled} with jobs of the name; resolves with its `working`. */
  startProcess(name: string): Promise<ChildProcess>;
  /** How long it may take until the job of a killed process begins again. */
  readonly takeoverMs: number;
}

/** One promise of every driver of jobs; rejects when the driver breaks it. */
export interface JobDriverCase {
  readonly name: string;
  run(driver: TriedJobDriver): Promise<void>;
}

export const newName = (): string => `case.${randomUUID().slice(0, 8)}`;

export interface OneName {
  readonly jobs: Jobs;
  readonly name: string;
}

export function openOne(driver: TriedJobDriver): OneName {
  const name = newName();
  return { name, jobs: driver.open([name]) };
}

/** A worker for one name that has started; failed jobs come again at once. */
export async function startWorker(
  { jobs, name }: OneName,
  run: (input: unknown, job: RunningJob) => Promise<unknown>,
  options: JobWorkerOptions = {},
): Promise<JobWorker> {
  const handlers = new Map<string, JobFunction>([[name, run]]);
  const worker = jobs.work(handlers, { backoff: { baseMs: 1, maxMs: 2 }, ...options });
  await worker.start();
  return worker;
}

export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = 20_000,
): Promise<void> {
  const untilMs = performance.now() + withinMs;
  while (!(await holds())) {
    assert.ok(performance.now() < untilMs, `not within ${withinMs} ms: ${what}`);
    await delay(10);
  }
}

/** Until all jobs of the name that were added have ended well: one that is less urgent than all has run. */
export async function untilGone({ jobs }: OneName, ids: readonly string[]): Promise<void> {
  await eventually('all have ended', async () => {
    const states = await Promise.all(ids.map((id) => jobs.status(id)));
    return states.every((status) => status === undefined || status.state === 'done');
  });
}

export async function untilFailed({ jobs }: OneName, id: string): Promise<void> {
  await eventually('it is a dead letter', async () => (await jobs.status(id))?.state === 'failed');
}

/** The same values, in whatever order. */
export function assertSame(actual: readonly unknown[], expected: readonly unknown[]): void {
  const sorted = (list: readonly unknown[]): string[] =>
    list.map((each) => `${JSON.stringify(each)}`).toSorted((a, b) => a.localeCompare(b));
  assert.deepEqual(sorted(actual), sorted(expected));
}

export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

export const never = (): Promise<never> => new Promise(() => undefined);

/** What the process of {@link TriedJobDriver.startProcess} does: each job tells the parent of itself, and never ends. */
export async function workUntilKilled(jobs: Jobs, name: string): Promise<void> {
  const one = { jobs, name };
  await startWorker(one, async (_input, { task }) => {
    process.send?.({ id: task.id, attempt: task.attempt });
    await never();
  });
  process.on('disconnect', () => process.exit());
  process.send?.('working');
}
