import { systemClock, type Clock } from '../kernel/clock.ts';
import type { RequestContext } from '../kernel/context.ts';

/** Tells, while something is under way for a context, that the context has ended. */
export interface ContextWatch {
  /**
   * `onEnd` runs at most once, when the deadline passes or the signal aborts. Call the returned function when
   * the work is done. Undefined for a context that nothing can end: then there is nothing to watch.
   */
  watch(context: RequestContext, onEnd: () => void): (() => void) | undefined;
  close(): void;
}

interface Watched {
  readonly deadlineAtMs: number;
  readonly onEnd: () => void;
}

/** A timer set for longer than this fires at once. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * One timer for all that is watched, set for the earliest deadline, and one listener for each signal: a
 * statement costs an entry in a set, not a timer and a listener of its own.
 */
export function createContextWatch(clock: Clock = systemClock): ContextWatch {
  const withDeadline = new Set<Watched>();
  // The listener stays as long as its signal; what it tells comes and goes with the work.
  const bySignal = new WeakMap<AbortSignal, Set<Watched>>();
  let timer: NodeJS.Timeout | undefined;
  // When the timer fires; it may fire for nothing, as work that ends in time leaves it as it is.
  let firesAtMs = Infinity;

  function arm(atMs: number): void {
    if (atMs >= firesAtMs) return;
    clearTimeout(timer);
    firesAtMs = atMs;
    const inMs = Math.ceil(atMs - clock.monotonicMs());
    timer = setTimeout(sweep, Math.min(Math.max(inMs, 0), longestTimerMs)).unref();
  }

  function sweep(): void {
    firesAtMs = Infinity;
    const nowMs = clock.monotonicMs();
    let earliest = Infinity;
    for (const watched of withDeadline) {
      if (watched.deadlineAtMs <= nowMs) {
        withDeadline.delete(watched);
        watched.onEnd();
      } else earliest = Math.min(earliest, watched.deadlineAtMs);
    }
    arm(earliest);
  }

  function listenTo(signal: AbortSignal): Set<Watched> {
    const known = bySignal.get(signal);
    if (known !== undefined) return known;
    const watching = new Set<Watched>();
    bySignal.set(signal, watching);
    signal.addEventListener(
      'abort',
      () => {
        for (const watched of watching) watched.onEnd();
      },
      { once: true },
    );
    return watching;
  }

  return {
    watch(context, onEnd) {
      const { deadlineAtMs, signal } = context;
      if (deadlineAtMs === undefined && signal === undefined) return undefined;
      // Deadline and signal may both come, in either order.
      let told = false;
      const watched: Watched = {
        deadlineAtMs: deadlineAtMs ?? Infinity,
        onEnd() {
          if (told) return;
          told = true;
          onEnd();
        },
      };
      const signalled = signal === undefined ? undefined : listenTo(signal);
      signalled?.add(watched);
      if (deadlineAtMs !== undefined) {
        withDeadline.add(watched);
        arm(deadlineAtMs);
      }
      return () => {
        signalled?.delete(watched);
        withDeadline.delete(watched);
      };
    },
    close() {
      clearTimeout(timer);
      withDeadline.clear();
    },
  };
}
