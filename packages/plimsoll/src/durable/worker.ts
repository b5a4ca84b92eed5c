import type { Database } from '../database/database.ts';
import { background, tasks as taskChannel } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { taskSpan } from '../kernel/trace.ts';
import { createQueue } from '../queue/create-queue.ts';
import { askedMs, backoffMs, type BackoffOptions } from './backoff.ts';
import { claimable } from './claim-share.ts';
import { createLoop, type Loop } from './loop.ts';
import { enter, reclaimFromDead, type Presence } from './presence.ts';
import { claimDue, releaseFailed, releaseUnfinished, type ClaimedTask } from './task.ts';
import { watchUnclaimed } from './unclaimed.ts';

/**
 * Runs one task and, in the transaction that holds its effects, ends it with `completeTask`. Throws to have
 * it tried again; throws PL_TASK_LOST when the task was no longer ours.
 */
export type TaskHandler = (task: ClaimedTask) => Promise<void>;

export interface WorkerOptions {
  readonly database: Database;
  /** By task name; only these are claimed. */
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  /** Tasks under way at once; from 4 on, those of one name leave a quarter to others. Default 8. */
  readonly concurrency?: number;
  /** How often to look when nobody wakes the worker. Default 250. */
  readonly pollMs?: number;
  /** How often to take back the tasks of dead workers. Default 1000. */
  readonly reclaimMs?: number;
  /** How long a stopping worker waits for tasks under way before it gives them back. Default 10_000. */
  readonly drainMs?: number;
  readonly backoff?: BackoffOptions;
  readonly random?: () => number;
  readonly clock?: Clock;
}

export const workerDefaults = { concurrency: 8, pollMs: 250, reclaimMs: 1_000, drainMs: 10_000 } as const;

/**
 * Claims due tasks, runs them, tries failed ones again, parks hopeless ones, takes over from the dead, and tells
 * of tasks that nobody has a handler for.
 */
export function createWorker(options: WorkerOptions): Loop {
  const { database, handlers } = options;
  const { scope } = database;
  const settings = { ...workerDefaults, ...options };
  const random = options.random ?? Math.random;
  const clock = options.clock ?? systemClock;
  const names = [...handlers.keys()];
  const tellUnclaimed = watchUnclaimed(database, names, clock);
  const runningOf = new Map<string, number>();
  // Of all names.
  let running = 0;
  const queue = createQueue<ClaimedTask, void>({
    name: 'worker',
    concurrency: settings.concurrency,
    maxLength: settings.concurrency,
    handler: run,
    scope,
    clock,
  });
  // Undefined before start, and between losing a session and entering again: then nothing is claimed.
  let presence: Presence | undefined;
  let lastReclaimMs = -Infinity;

  async function present(): Promise<Presence> {
    if (presence !== undefined) return presence;
    const entered = await enter(database);
    presence = entered;
    void entered.lost.then(() => {
      if (presence === entered) presence = undefined;
    });
    return entered;
  }

  async function round(): Promise<boolean> {
    const { worker } = await present();
    if (clock.monotonicMs() - lastReclaimMs >= settings.reclaimMs) {
      lastReclaimMs = clock.monotonicMs();
      await reclaimFromDead(database);
    }
    await tellUnclaimed();
    const free = settings.concurrency - running;
    // A task that ends wakes the loop.
    if (free <= 0) return false;
    const open = claimable(names, runningOf, free, settings.concurrency);
    if (open.names.length === 0) return false;
    const claimed = await database.query<ClaimedTask>(claimDue(worker, open.names, open.limit));
    for (const task of claimed) {
      count(task.name, 1);
      // There is room: no more were claimed than are free.
      queue.offer(task);
    }
    // More may be due than the share of one name lets through at once.
    return claimed.length === open.limit && open.limit < free;
  }

  function count(name: string, change: 1 | -1): void {
    running += change;
    const now = (runningOf.get(name) ?? 0) + change;
    if (now === 0) runningOf.delete(name);
    else runningOf.set(name, now);
  }

  async function run(task: ClaimedTask): Promise<void> {
    try {
      await settle(task);
    } finally {
      count(task.name, -1);
      loop.wake();
    }
  }

  async function settle(task: ClaimedTask): Promise<void> {
    const startedMs = clock.monotonicMs();
    const report = (outcome: 'done' | 'retry' | 'parked' | 'lost', error?: unknown): void => {
      if (!taskChannel.hasSubscribers) return;
      const { name, kind, attempt, lagMs, correlationId } = task;
      taskChannel.publish({
        scope,
        name,
        kind,
        outcome,
        attempt,
        lagMs,
        correlationId,
        span: taskSpan(task),
        durationMs: clock.monotonicMs() - startedMs,
        ...(error === undefined ? {} : { error }),
      });
    };
    try {
      const handler = handlers.get(task.name);
      if (handler === undefined) throw new Error(`no handler for task ${task.name}`);
      await handler(task);
      report('done');
    } catch (error) {
      if (isPlimsollError(error, 'PL_TASK_LOST')) report('lost', error);
      else report(await release(task, error), error);
    }
  }

  /** The failure must be written down, or the task would stay ours for ever: retried until it is, or we are gone. */
  async function release(task: ClaimedTask, failure: unknown): Promise<'retry' | 'parked' | 'lost'> {
    // Who was told when to come back, by an open breaker or a rate limit, would only use up its attempts before.
    const delayMs = Math.max(backoffMs(task.attempt, options.backoff ?? {}, random), askedMs(failure));
    for (;;) {
      try {
        const row = await database.maybeOne<{ state: string }>(releaseFailed(task, failure, delayMs));
        if (row === undefined) return 'lost';
        return row.state === 'parked' ? 'parked' : 'retry';
      } catch (error) {
        background.publish({ scope, what: `recording the failure of task ${task.name} ${task.id}`, error });
        if (presence?.worker !== task.worker) return 'lost';
        await clock.sleep(500);
      }
    }
  }

  async function drain(): Promise<void> {
    const ended = new AbortController();
    await Promise.race([queue.drain(), clock.sleep(settings.drainMs, ended.signal)]);
    ended.abort();
  }

  async function leave(): Promise<void> {
    const leaving = presence;
    presence = undefined;
    if (leaving === undefined) return;
    try {
      await database.execute(releaseUnfinished(leaving.worker));
    } catch (error) {
      background.publish({ scope, what: 'giving back unfinished tasks', error });
    }
    await leaving.leave();
  }

  const loop: Loop = createLoop({
    name: 'worker',
    scope,
    pollMs: settings.pollMs,
    round,
    onStart: async () => void (await present()),
    onDrain: drain,
    onStop: leave,
  });
  return loop;
}
