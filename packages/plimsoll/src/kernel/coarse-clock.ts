import { systemClock, type Clock } from './clock.ts';

/** How long a tick lasts, and as much longer as the event loop is blocked. */
export const tickMs = 16;

/** What happens in it happens at one time, as far as whoever looks at the tick knows. */
export interface Tick {
  readonly beganAtMs: number;
  /** Infinity until it has ended. */
  endedAtMs: number;
}

// Not what a test has put in its place since: a tick that never ends would stop this clock.
const { setTimeout: later } = globalThis;
let running: Tick | undefined;

function end(): void {
  if (running !== undefined) running.endedAtMs = systemClock.monotonicMs();
  running = undefined;
}

/**
 * The tick that runs. To read the clock takes 40 ns and this 2: the clock is read twice a tick, and not at all while
 * nobody asks.
 */
export function currentTick(): Tick {
  if (running === undefined) {
    running = { beganAtMs: systemClock.monotonicMs(), endedAtMs: Infinity };
    later(end, tickMs).unref();
  }
  return running;
}

/** A time that is never ahead, for what is counted in long windows. A clock of one's own is read each time. */
export function coarseClock(clock: Clock): () => number {
  return clock === systemClock ? () => currentTick().beganAtMs : () => clock.monotonicMs();
}
