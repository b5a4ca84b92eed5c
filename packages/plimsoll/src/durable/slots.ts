import type { Clock } from '../kernel/clock.ts';
import { claimable, leastShared, startable, type Claim } from './claim-share.ts';
import type { ClaimedTask } from './task.ts';

/** A name whose tasks take less than this is quick: some of its tasks are claimed ahead. */
const quickMs = 20;
/** As much work as this is claimed ahead, */
const aheadMs = 50;
/** and at most so many tasks. */
const mostAhead = 500;
/** What has waited so long here goes back to whoever can run it. */
const heldMs = 1_000;
/** Weight of the newest duration. */
const newest = 0.1;

interface Held {
  readonly task: ClaimedTask;
  readonly sinceMs: number;
}

/**
 * The tasks of one worker: those under way, and those claimed ahead, so that quick tasks do not wait for a claim each.
 * Whatever is claimed, a name gets no more slots than its share, so that one that hangs leaves room for the others.
 */
export interface Slots {
  readonly running: number;
  readonly held: number;
  /** What to claim: of names that are not quick, as many as can start; of the quick ones, as many as may be held. */
  wanted(names: readonly string[]): readonly Claim[];
  /** How many more of a name may start now. */
  room(name: string): number;
  /** Tasks that were claimed: started as soon as their name's share lets them. */
  take(tasks: readonly ClaimedTask[]): void;
  /** Takes out what has not begun: all of it, or what has waited too long. */
  giveBack(which: 'all' | 'stale'): readonly ClaimedTask[];
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

export interface SlotsOptions {
  readonly concurrency: number;
  readonly clock: Clock;
  /** Never rejects. */
  readonly run: (task: ClaimedTask) => Promise<void>;
  /** There is room for more. */
  readonly onRoom: () => void;
}

export function createSlots({ concurrency, clock, run, onRoom }: SlotsOptions): Slots {
  const runningOf = new Map<string, number>();
  let running = 0;
  // By name, in the order of their claims; a name without any is not there.
  const heldOf = new Map<string, Held[]>();
  let held = 0;
  // Moving averages, by name; a name that has not ended one is not there.
  const meanMs = new Map<string, number>();
  // Those that were last asked for.
  let lastNames: readonly string[] = [];
  let idleWaiters: (() => void)[] = [];

  function isQuick(name: string): boolean {
    return concurrency >= leastShared && (meanMs.get(name) ?? Infinity) < quickMs;
  }

  /** Of all quick names together. */
  function mostHeld(quick: readonly string[]): number {
    const slowest = Math.max(...quick.map((name) => meanMs.get(name) ?? quickMs), 0.01);
    return Math.min(mostAhead, Math.ceil((concurrency * aheadMs) / slowest));
  }

  function wanted(names: readonly string[]): readonly Claim[] {
    const free = concurrency - running;
    lastNames = names;
    const quick = names.filter(isQuick);
    const slow = quick.length === 0 ? names : names.filter((name) => !isQuick(name));
    const claims: Claim[] = [];
    if (free > 0 && slow.length > 0) {
      const claim = claimable(slow, runningOf, free, concurrency);
      if (claim.names.length > 0) claims.push(claim);
    }
    if (quick.length > 0) {
      const room = mostHeld(quick) - held;
      if (room > 0) claims.push({ names: quick, limit: room });
    }
    return claims;
  }

  function fill(): void {
    for (const [name, waiting] of heldOf) {
      while (startable(runningOf.get(name) ?? 0, concurrency - running, concurrency) > 0) {
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
    const { name } = task;
    const startedMs = clock.monotonicMs();
    running += 1;
    runningOf.set(name, (runningOf.get(name) ?? 0) + 1);
    void run(task).finally(() => {
      const tookMs = clock.monotonicMs() - startedMs;
      const before = meanMs.get(name);
      meanMs.set(name, before === undefined ? tookMs : before + newest * (tookMs - before));
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
      if (held === 0 || held < mostHeld(lastNames.filter(isQuick)) / 2) onRoom();
      if (running === 0) {
        for (const resolve of idleWaiters) resolve();
        idleWaiters = [];
      }
    });
  }

  return {
    get running() {
      return running;
    },
    get held() {
      return held;
    },
    wanted,
    room: (name) => startable(runningOf.get(name) ?? 0, concurrency - running, concurrency),
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
        // It hangs: nothing is claimed ahead until it has been quick for a while.
        if (which === 'stale') meanMs.set(name, 10 * quickMs);
      }
      return given;
    },
    idle: () =>
      running === 0 ? Promise.resolve() : new Promise<void>((resolve) => idleWaiters.push(resolve)),
  };
}
