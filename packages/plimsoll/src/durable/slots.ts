import type { Clock } from '../kernel/clock.ts';
import { claimable, leastShared, startable, type Claim } from './claim-share.ts';
import type { ClaimedTask } from './task.ts';

/** Of a name whose tasks end in this process all the time, as many are claimed ahead as end in so long, */
const aheadMs = 100;
/** and at most so many in all. */
const mostAhead = 1_000;
/** What has waited so long here goes back to whoever can run it. */
const heldMs = 1_000;
/** Over how long ends are counted, with less and less weight. */
const windowMs = 250;

interface Held {
  readonly task: ClaimedTask;
  readonly sinceMs: number;
}

/** How often tasks of a name end. */
interface Ends {
  /** Each end counts one, and fades. */
  count: number;
  atMs: number;
}

/**
 * The tasks of one worker: those under way, and those claimed ahead, so that quick tasks do not wait for a claim each.
 * Whatever is claimed, a name gets no more slots than its share, so that one that hangs leaves room for the others.
 */
export interface Slots {
  readonly running: number;
  readonly held: number;
  /** What to claim: as many as can start, and of names whose tasks are quick as many as may be held. */
  wanted(names: readonly string[]): readonly Claim[];
  /** How many more of a name may start now. */
  room(name: string): number;
  /** Tasks that were claimed: started as soon as their name's share lets them. */
  take(tasks: readonly ClaimedTask[]): void;
  /** A slot for a task of this name that was not claimed; undefined where there is none. It is to be used or freed. */
  reserve(name: string): Reserved | undefined;
  /** Takes out what has not begun: all of it, or what has waited too long. */
  giveBack(which: 'all' | 'stale'): readonly ClaimedTask[];
  /** Resolves when nothing is under way any more. */
  idle(): Promise<void>;
}

/** A slot that waits for its task. */
export interface Reserved {
  readonly begin: (task: ClaimedTask) => void;
  /** There will be no task. */
  readonly free: () => void;
}

interface Slot {
  /** For the next task. */
  readonly free: () => void;
  /** And its task has ended. */
  readonly settle: () => void;
}

export interface SlotsOptions {
  readonly concurrency: number;
  readonly clock: Clock;
  /** Never rejects. `onHandled` may be called before it resolves, when a task needs its slot no more. */
  readonly run: (task: ClaimedTask, onHandled: () => void) => Promise<void>;
  /** There is room for more; `claimed`: a task that was claimed has left it. */
  readonly onRoom: (claimed: boolean) => void;
}

export function createSlots({ concurrency, clock, run, onRoom }: SlotsOptions): Slots {
  const runningOf = new Map<string, number>();
  let running = 0;
  // Those under way, and those that need no slot any more but have not ended.
  let unsettled = 0;
  // By name, in the order of their claims; a name without any is not there.
  const heldOf = new Map<string, Held[]>();
  let held = 0;
  const endsOf = new Map<string, Ends>();
  let idleWaiters: (() => void)[] = [];

  function fade(ends: Ends): void {
    const nowMs = clock.monotonicMs();
    ends.count *= Math.exp((ends.atMs - nowMs) / windowMs);
    ends.atMs = nowMs;
  }

  /** How many of a name may be held here. */
  function ahead(name: string): number {
    const ends = endsOf.get(name);
    if (ends === undefined || concurrency < leastShared) return 0;
    fade(ends);
    return Math.min(mostAhead, Math.floor((ends.count / windowMs) * aheadMs));
  }

  function wanted(names: readonly string[]): readonly Claim[] {
    const free = concurrency - running;
    const claims: Claim[] = [];
    const others: string[] = [];
    const quick: string[] = [];
    const limits: number[] = [];
    for (const name of names) {
      const target = ahead(name);
      if (target === 0) {
        others.push(name);
        continue;
      }
      const own = heldOf.get(name)?.length ?? 0;
      const more = target + room(name) - own;
      // Half of it at a time: a claim costs as much as a hundred tasks of it.
      if (more <= 0 || own > target / 2) continue;
      quick.push(name);
      limits.push(more);
    }
    if (free > 0 && others.length > 0) {
      const claim = claimable(others, runningOf, free, concurrency);
      if (claim.names.length > 0) claims.push(claim);
    }
    const limit = Math.min(
      mostAhead - held,
      limits.reduce((sum, each) => sum + each, 0),
    );
    if (limit > 0) claims.push({ names: quick, limit, limits });
    return claims;
  }

  function room(name: string): number {
    return startable(runningOf.get(name) ?? 0, concurrency - running, concurrency);
  }

  function fill(): void {
    for (const [name, waiting] of heldOf) {
      while (room(name) > 0) {
        const next = waiting.shift();
        if (next === undefined) break;
        held -= 1;
        begin(next.task);
      }
      if (waiting.length === 0) heldOf.delete(name);
      if (running === concurrency) return;
    }
  }

  function begin(task: ClaimedTask): void {
    runIn(
      occupy(task.name, () => {
        noteEnd(task.name);
        return true;
      }),
      task,
    );
  }

  /** `onFree` says whether its task was claimed. */
  function occupy(name: string, onFree: () => boolean): Slot {
    running += 1;
    unsettled += 1;
    runningOf.set(name, (runningOf.get(name) ?? 0) + 1);
    let taken = true;
    const free = (): void => {
      if (!taken) return;
      taken = false;
      const claimed = onFree();
      running -= 1;
      const left = (runningOf.get(name) ?? 1) - 1;
      if (left === 0) runningOf.delete(name);
      else runningOf.set(name, left);
      // The others first: a name that always has some must not be served before them again.
      const waiting = heldOf.get(name);
      if (waiting !== undefined) {
        heldOf.delete(name);
        heldOf.set(name, waiting);
      }
      fill();
      if (held === 0 || (heldOf.get(name)?.length ?? 0) < ahead(name) / 2) onRoom(claimed);
    };
    const settle = (): void => {
      unsettled -= 1;
      free();
      if (unsettled > 0) return;
      for (const resolve of idleWaiters) resolve();
      idleWaiters = [];
    };
    return { free, settle };
  }

  function runIn({ free, settle }: Slot, task: ClaimedTask): void {
    // Those whose end waits to be written are bounded, too.
    const onHandled = (): void => {
      if (unsettled < mostAhead) free();
    };
    void run(task, onHandled).finally(settle);
  }

  function noteEnd(name: string): void {
    const ends = endsOf.get(name) ?? { count: 0, atMs: clock.monotonicMs() };
    fade(ends);
    ends.count += 1;
    endsOf.set(name, ends);
  }

  return {
    get running() {
      return running;
    },
    get held() {
      return held;
    },
    wanted,
    room,
    take(tasks) {
      const sinceMs = clock.monotonicMs();
      for (const task of tasks) {
        const waiting = heldOf.get(task.name);
        if (waiting === undefined) heldOf.set(task.name, [{ task, sinceMs }]);
        else waiting.push({ task, sinceMs });
      }
      held += tasks.length;
      fill();
    },
    reserve(name) {
      if (room(name) <= 0) return undefined;
      const slot = occupy(name, () => false);
      return { begin: (task) => runIn(slot, task), free: slot.settle };
    },
    giveBack(which) {
      const before = which === 'all' ? Infinity : clock.monotonicMs() - heldMs;
      const given: ClaimedTask[] = [];
      for (const [name, waiting] of heldOf) {
        const stale = waiting.filter(({ sinceMs }) => sinceMs < before);
        if (stale.length === 0) continue;
        given.push(...stale.map(({ task }) => task));
        held -= stale.length;
        const fresh = waiting.filter(({ sinceMs }) => sinceMs >= before);
        if (fresh.length === 0) heldOf.delete(name);
        else heldOf.set(name, fresh);
        // It hangs: nothing is claimed ahead until it has been quick again.
        if (which === 'stale') endsOf.delete(name);
      }
      return given;
    },
    idle: () =>
      unsettled === 0 ? Promise.resolve() : new Promise<void>((resolve) => idleWaiters.push(resolve)),
  };
}
