import { performance } from 'node:perf_hooks';

/** What the event loop says of a request that comes now. */
export interface LoopPressure {
  /**
   * Chance, from 0 to 1, with which an interactive request should be refused. `isFirst` is whether it is the first of
   * its connection. Default true.
   */
  pressure(nowMs: number, isFirst?: boolean): number;
}

export interface LoopPressureOptions {
  /** Requests that waited longer than this for the loop begin to be refused. */
  readonly delayMs: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Milliseconds that the loop has spent waiting since it began. Default as Node tells. */
  readonly idleMs?: () => number;
}

/** From so many times `delayMs` on, all are refused; in between, a growing share. */
const allRefusedFactor = 4;
/** What is known of the loop is that of about so long. */
const memoryMs = 200;
/** Busy for less than this share of the time, the loop is not behind; for more than the other, it is. */
const easyShare = 0.7;
const behindShare = 0.9;
/** So many requests of a turn make no line: refusing the last of them would help nobody. */
const shortLine = 3;
/** Share of the time that requests should leave. */
const spareShare = 0.02;
/** Once they have left none for so many times `delayMs`, some are refused. */
const crowdedFactor = 10;
/** A longer turn counts as one of so long: nobody knows when in it others came. */
const longestCrowdedMs = 50;
/** After so much longer, only one in e of those is admitted that were before. */
const fallMs = 80;
/** Never nothing for want of spare time: what is left out of nothing tells nothing. */
const leastAdmitted = 0.05;
/** Without a request for so long, the loop is no longer watched. */
const unusedMs = 1_000;

/**
 * Two things make a request wait for the event loop. Within a turn: requests that came together are handled one after
 * the other, so the age of the turn is what this one has waited. Before it: connections that the loop has had no time
 * to accept wait in the kernel, where nothing sees them. But whoever waits there has come since the loop was last idle,
 * or since a turn brought no new connection; so the time for which they have left nothing to spare is the longest that
 * anybody can have waited. Busy with connections that it has, a loop leaves nobody waiting for longer than a turn.
 *
 * Costs a callback for each turn while there are requests, and nothing otherwise.
 */
export function createLoopPressure(options: LoopPressureOptions): LoopPressure {
  const { delayMs, now, idleMs = loopIdleMs } = options;
  let watching = false;
  let askedAtMs = 0;
  // When the last turn ended, and how long the loop had been idle by then.
  let endedAtMs = 0;
  let idleAtEndMs = 0;
  /** When this turn began, which is when the loop stopped waiting. Undefined until a request comes in it. */
  let beganAtMs: number | undefined;
  let busyShare = 0;
  /** Length of turns, weighted by time: what a request that came at any moment has met. */
  let usualMs = 0;
  /** Requests that came in this turn. */
  let asked = 0;
  /** Whether a new connection came in this turn. */
  let isCrowded = false;
  /** For how long they have left no time to spare; what they leave counts against it by what they should leave. */
  let crowdedMs = 0;
  const bearableMs = crowdedFactor * delayMs;
  const mostCrowdedMs = bearableMs - fallMs * Math.log(leastAdmitted);

  function watch(nowMs: number): void {
    watching = true;
    busyShare = 0;
    usualMs = 0;
    crowdedMs = 0;
    mark(nowMs);
    // Unreferenced, it keeps neither the process alive nor the loop awake: it runs when a turn ends.
    setImmediate(endTurn).unref();
  }

  function mark(nowMs: number): void {
    endedAtMs = nowMs;
    idleAtEndMs = idleMs();
    beganAtMs = undefined;
    isCrowded = false;
    asked = 0;
  }

  function endTurn(): void {
    const nowMs = now();
    const idledMs = Math.max(0, idleMs() - idleAtEndMs);
    const busyMs = Math.max(0, nowMs - endedAtMs - idledMs);
    const idleWeight = idledMs / (idledMs + memoryMs);
    const busyWeight = busyMs / (busyMs + memoryMs);
    busyShare *= 1 - idleWeight;
    busyShare += (1 - busyShare) * busyWeight;
    usualMs *= 1 - idleWeight;
    usualMs += (busyMs - usualMs) * busyWeight;
    // A turn in which no connection came had time for one.
    crowdedMs += isCrowded ? Math.min(longestCrowdedMs, busyMs) : -busyMs;
    crowdedMs = Math.min(mostCrowdedMs, Math.max(0, crowdedMs - idledMs / spareShare));
    mark(nowMs);
    if (nowMs - askedAtMs > unusedMs) watching = false;
    else setImmediate(endTurn).unref();
  }

  /** 0 unless the loop has hardly been idle of late, so that one long turn alone refuses nobody. */
  function waitedMs(ageMs: number): number {
    if (asked <= shortLine) return 0;
    const busy = busyShare + (1 - busyShare) * (ageMs / (ageMs + memoryMs));
    const behind = Math.max(0, Math.min(1, (busy - easyShare) / (behindShare - easyShare)));
    return Math.max(ageMs, usualMs) * behind;
  }

  return {
    pressure(nowMs, isFirst = true) {
      askedAtMs = nowMs;
      if (!watching) watch(nowMs);
      if (isFirst) isCrowded = true;
      asked += 1;
      beganAtMs ??= endedAtMs + Math.max(0, idleMs() - idleAtEndMs);
      const beyondMs = waitedMs(Math.max(0, nowMs - beganAtMs)) - delayMs;
      const admitted = Math.exp(Math.min(0, bearableMs - crowdedMs) / fallMs);
      return Math.max(1 - admitted, Math.min(1, beyondMs / (delayMs * (allRefusedFactor - 1))));
    },
  };
}

function loopIdleMs(): number {
  return performance.nodeTiming.idleTime;
}
