import { monitorEventLoopDelay, performance, type EventLoopUtilization } from 'node:perf_hooks';

interface Second {
  readonly atMs: number;
  readonly utilization: number;
  readonly delayP99Ms: number;
}

export interface EventLoopWindow {
  /** Share of the time that the loop was busy, 0 to 1. */
  readonly utilization: number;
  /** Worst p99 of any second in the window. */
  readonly delayP99Ms: number;
}

export interface EventLoopMeter {
  window(lastMs: number): EventLoopWindow;
  stop(): void;
}

const resolutionMs = 10;

/** Samples the loop once a second and keeps a minute. */
export function meterEventLoop(): EventLoopMeter {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  const seconds: Second[] = [];
  let previous: EventLoopUtilization = performance.eventLoopUtilization();

  function sample(): void {
    const current = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(current, previous);
    previous = current;
    // The monitor measures the time between its ticks; what exceeds the tick is the delay.
    seconds.push({
      atMs: performance.now(),
      utilization,
      delayP99Ms: Math.max(0, delay.percentile(99) / 1e6 - resolutionMs),
    });
    delay.reset();
    if (seconds.length > 60) seconds.shift();
  }

  const timer = setInterval(sample, 1_000);
  timer.unref();

  return {
    window(lastMs) {
      const from = performance.now() - lastMs;
      const inside = seconds.filter((second) => second.atMs >= from);
      if (inside.length === 0)
        return { utilization: performance.eventLoopUtilization(previous).utilization, delayP99Ms: 0 };
      return {
        utilization: inside.reduce((sum, second) => sum + second.utilization, 0) / inside.length,
        delayP99Ms: Math.max(...inside.map((second) => second.delayP99Ms)),
      };
    },
    stop() {
      clearInterval(timer);
      delay.disable();
    },
  };
}
