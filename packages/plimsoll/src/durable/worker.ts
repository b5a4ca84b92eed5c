import type { Database } from '../database/database.ts';
import { background } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { extendLifecycle } from '../kernel/lifecycle.ts';
import type { BackoffOptions } from './backoff.ts';
import { createClaimFloor } from './claim-floor.ts';
import { claimDue, claimWithinLimits, promoteDue, promotedAtOnce, type Promotion } from './claim.ts';
import { limitedNames, setLimits, type QueueLimits } from './limits.ts';
import { createLook } from './look.ts';
import { createLoop, type Loop } from './loop.ts';
import { enter, reclaimFromDead, reclaimOrphans, type Presence } from './presence.ts';
import { createTaskRunner, type TaskHandler } from './run-task.ts';
import { cancelRequests, releaseHeld, releaseUnfinished, type CancelRequest } from './settle.ts';
import { createSlots } from './slots.ts';
import type { ClaimedTask } from './task.ts';
import { watchUnclaimed } from './unclaimed.ts';
import { createWakeUp } from './wake-up.ts';

export type { TaskControl, TaskHandler } from './run-task.ts';

export interface WorkerOptions {
  readonly database: Database;
  /** By task name; only these are claimed. */
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  /** Tasks under way at once; from 4 on, those of one name leave a quarter to others. Default 8. */
  readonly concurrency?: number;
  /** How often to look when nobody wakes the worker. Default 250. */
  readonly pollMs?: number;
  /** How often to take back the tasks of dead workers, and to look for running ones to cancel. Default 500. */
  readonly reclaimMs?: number;
  /** How long a stopping worker waits for tasks under way before it gives them back. Default 10_000. */
  readonly drainMs?: number;
  readonly backoff?: BackoffOptions;
  /** Recorded at the start, for all processes: what holds for all tasks of a name. Those of others stay as they are. */
  readonly limits?: ReadonlyMap<string, QueueLimits>;
  readonly random?: () => number;
  readonly clock?: Clock;
}

export const workerDefaults = { concurrency: 8, pollMs: 250, reclaimMs: 500, drainMs: 10_000 } as const;

export interface Worker extends Loop {
  /** After a commit that wrote tasks: wakes this worker, and those of other processes where there are any. */
  readonly announce: () => void;
  status(): WorkerStatus;
  /**
   * A slot for a task that is about to be written as running here; undefined where one that is due already might have
   * to wait for it, or where its name has limits.
   */
  reserve(name: string): Reservation | undefined;
}

/** To be told how the transaction ended that writes the task: by exactly one of these. */
export interface Reservation {
  readonly worker: number;
  readonly begin: (task: ClaimedTask) => void;
  readonly rolledBack: () => void;
  /** Its COMMIT was not answered: should the task come to be there, it is for whoever claims it. */
  readonly unknown: (task: ClaimedTask) => void;
}

export interface WorkerStatus {
  readonly running: number;
  /** Claimed and not begun. */
  readonly held: number;
  /** By what others see that it lives; `none` while it is stopped, or has lost it and not got it back yet. */
  readonly presence: Presence['kind'] | 'none';
}

/**
 * Claims due tasks, runs them, tries failed ones again, parks hopeless ones, takes over from the dead, and tells
 * of tasks that nobody has a handler for.
 */
export function createWorker(options: WorkerOptions): Worker {
  const { database, handlers } = options;
  const { scope } = database;
  const settings = { ...workerDefaults, ...options };
  const clock = options.clock ?? systemClock;
  const names = [...handlers.keys()];
  const tellUnclaimed = watchUnclaimed(database, names, clock);
  const wakeOthers = createWakeUp(database);
  const runner = createTaskRunner({
    database,
    handlers,
    backoff: options.backoff ?? {},
    random: options.random ?? Math.random,
    clock,
    isPresent: (worker) => presence?.worker === worker,
  });
  const slots = createSlots({
    concurrency: settings.concurrency,
    clock,
    run: (task, onHandled) => runner.run(task, onHandled),
    // Where nothing had to wait, a slot that was not claimed for is no news.
    onRoom: (claimed) => {
      if (claimed || clear.size < open.length) loop.wake();
    },
  });
  // Undefined before start, and between losing a session and entering again: then nothing is claimed.
  let presence: Presence | undefined;
  // Workers that lived at the last look; until the first there may be any number.
  let alive = Infinity;
  // As of the last look: names that are claimed freely, and those with limits that are not paused.
  let open: readonly string[] = [];
  let limited: readonly string[] = [];
  // Names of which the last look has left nothing unclaimed.
  let clear: ReadonlySet<string> = new Set();
  // Tasks that are running here if the COMMIT that wrote them has ever come about.
  const unsure = new Map<string, ClaimedTask>();
  // From when on a scheduled task may be due; others may write one that is due before, hence at most a poll later.
  let promoteAtMs = -Infinity;
  // Behind this all that was scheduled is ready, as of the last promotion.
  let promotedTo: string | undefined;
  const floor = createClaimFloor(database, clock);
  const looks = { scope, clock, everyMs: settings.reclaimMs };
  const look = createLook({ ...looks, what: 'looking around', look: lookAround });
  const fullLook = createLook({ ...looks, what: 'looking at all tasks', look: lookAtEverything });

  async function present(): Promise<Presence> {
    if (presence !== undefined) return presence;
    const entered = await enter(database, () => loop.wake(), clock);
    presence = entered;
    void entered.lost.then(() => {
      if (presence === entered) presence = undefined;
      unsure.clear();
      slots.giveBack('all');
      runner.abandon(entered.worker);
    });
    return entered;
  }

  /** What need not be looked at for each claim. Beside the claims: a job that has just come must not wait for it. */
  async function lookAround(): Promise<number> {
    const reclaim = await reclaimFromDead(database);
    ({ alive } = reclaim);
    if (reclaim.reclaimed > 0) loop.wake();
    await giveBack('stale');
    if (unsure.size > 0) await giveBackUnsure();
    await lookAtLimits();
    const underWay = runner.ids();
    if (underWay.length > 0) {
      for (const { id, attempt, reason } of await database.query<CancelRequest>(cancelRequests(underWay)))
        runner.cancel(id, attempt, reason);
    }
    await tellUnclaimed();
    return 0;
  }

  async function lookAtLimits(): Promise<void> {
    const queues = await database.query<{ name: string; paused: boolean }>(limitedNames(names));
    limited = queues.filter(({ paused }) => !paused).map(({ name }) => name);
    open = queues.length === 0 ? names : names.filter((each) => !queues.some(({ name }) => name === each));
  }

  /** What no floor hides: orphans, what was due long ago, and what is ready behind the floor. */
  async function lookAtEverything(): Promise<number> {
    const orphans = await reclaimOrphans(database);
    const { promoted } = await database.one<Promotion>(promoteDue());
    const tookMs = await floor.reset(open);
    if (floor.rises || orphans.reclaimed > 0 || promoted > 0) loop.wake();
    return orphans.tookMs + tookMs;
  }

  async function promote(): Promise<void> {
    if (clock.monotonicMs() < promoteAtMs) return;
    let promotion: Promotion;
    do promotion = await database.one<Promotion>(promoteDue(floor.rises ? promotedTo : undefined));
    while (promotion.promoted === promotedAtOnce);
    promotedTo = promotion.settled;
    promoteAtMs = clock.monotonicMs() + Math.min(settings.pollMs, promotion.nextMs ?? Infinity);
  }

  async function round(): Promise<boolean | number> {
    const { worker } = await present();
    look.beginWhenDue();
    fullLook.beginWhenDue();
    await promote();
    for (const name of limited) {
      const most = slots.room(name);
      if (most > 0) slots.take(await database.query<ClaimedTask>(claimWithinLimits(worker, name, most)));
    }
    await floor.advance(open);
    const wanted = slots.wanted(open);
    const claiming = open.filter((name) => slots.room(name) > 0);
    const claims = await Promise.all(
      wanted.map(({ names: of, limit, limits }) =>
        database.query<ClaimedTask>(claimDue(worker, of, limit, limits, floor.of(of))),
      ),
    );
    const full = claims.some((claimed, index) => claimed.length === wanted[index]?.limit);
    clear = new Set(full ? [] : claiming);
    slots.take(claims.flat());
    floor.note(claims.flat());
    // More may be due than one claim lets through. Where there is no room, a task that ends wakes the loop.
    if (full && slots.wanted(open).length > 0) return true;
    return promoteAtMs - clock.monotonicMs();
  }

  async function giveBack(which: 'all' | 'stale'): Promise<void> {
    const given = slots.giveBack(which);
    if (given.length > 0) await database.execute(releaseHeld(given));
  }

  async function giveBackUnsure(): Promise<void> {
    const given = await database.query<{ id: string }>(releaseHeld([...unsure.values()]));
    if (given.length === 0) return;
    for (const { id } of given) unsure.delete(id);
    await floor.reset(open);
    loop.wake();
  }

  async function drain(): Promise<void> {
    clear = new Set();
    await giveBack('all').catch((error: unknown) =>
      background.publish({ scope, what: 'giving back tasks that were claimed ahead', error }),
    );
    const ended = new AbortController();
    await Promise.race([slots.idle(), clock.sleep(settings.drainMs, ended.signal)]);
    ended.abort();
  }

  async function leave(): Promise<void> {
    const leaving = presence;
    presence = undefined;
    await Promise.all([look.idle(), fullLook.idle()]);
    // Whoever looks next takes back what a worker has that is gone.
    unsure.clear();
    if (leaving === undefined) return;
    slots.giveBack('all');
    try {
      await database.execute(releaseUnfinished(leaving.worker));
    } catch (error) {
      background.publish({ scope, what: 'giving back unfinished tasks', error });
    }
    runner.abandon(leaving.worker);
    await leaving.leave();
  }

  const loop: Loop = createLoop({
    name: 'worker',
    scope,
    pollMs: settings.pollMs,
    round,
    async onStart() {
      for (const [name, limits] of options.limits ?? []) await database.execute(setLimits(name, limits));
      // Before the first claim.
      await lookAtLimits();
      look.due();
      fullLook.due();
      await present();
    },
    onDrain: drain,
    onStop: leave,
  });
  return extendLifecycle(loop, {
    wake: loop.wake,
    announce() {
      loop.wake();
      if (alive > 1) wakeOthers();
    },
    reserve(name: string): Reservation | undefined {
      if (presence === undefined || !clear.has(name)) return undefined;
      const { worker } = presence;
      const slot = slots.reserve(name);
      if (slot === undefined) return undefined;
      return {
        worker,
        // As what was claimed: not in the context of whoever has written it.
        begin: (task) => runInContext(createContext(), slot.begin, task),
        rolledBack: slot.free,
        unknown(task) {
          unsure.set(task.id, task);
          slot.free();
        },
      };
    },
    status: () => ({ running: slots.running, held: slots.held, presence: presence?.kind ?? 'none' }),
  });
}
