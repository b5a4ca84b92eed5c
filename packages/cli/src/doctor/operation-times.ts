/** What the executions of one operation took, by `/-/metrics`: a histogram that counts from the start of the app. */
export interface OperationTimes {
  readonly count: number;
  readonly totalMs: number;
  /** Executions of at most so many milliseconds, by that bound, rising; the last bound is Infinity. */
  readonly atMost: ReadonlyMap<number, number>;
}

/** By operation, whatever the outcome. Undefined when the app does not answer with metrics. */
export async function readTimes(
  target: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, OperationTimes> | undefined> {
  const answer = await fetch(`${target}/-/metrics`, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(5_000)]),
  }).catch(() => undefined);
  signal.throwIfAborted();
  return answer?.ok === true ? parseTimes(await answer.text()) : undefined;
}

/** From Prometheus' text format. */
export function parseTimes(text: string): ReadonlyMap<string, OperationTimes> {
  const times = new Map<string, { count: number; totalMs: number; atMost: Map<number, number> }>();
  for (const line of text.split('\n')) {
    const [, part, labels = '', value] =
      /^plimsoll_operation_duration_seconds_(bucket|sum|count)\{(.*)\} (\S+)$/.exec(line) ?? [];
    const operation = /(?:^|,)operation="([^"]*)"/.exec(labels)?.[1];
    if (operation === undefined) continue;
    const found = times.get(operation) ?? { count: 0, totalMs: 0, atMost: new Map<number, number>() };
    times.set(operation, found);
    if (part === 'count') found.count += Number(value);
    else if (part === 'sum') found.totalMs += Number(value) * 1_000;
    else {
      const le = /(?:^|,)le="([^"]*)"/.exec(labels)?.[1];
      // Whole microseconds: 0.0025 s is 2.5 ms, and not a little more.
      const bound = le === '+Inf' ? Infinity : Math.round(Number(le) * 1e6) / 1e3;
      found.atMost.set(bound, (found.atMost.get(bound) ?? 0) + Number(value));
    }
  }
  return times;
}

/** Between two readings. An app that was started anew in between began at zero. */
export function timesDelta(then: OperationTimes | undefined, now: OperationTimes): OperationTimes {
  if (then === undefined || then.count > now.count) return now;
  return {
    count: now.count - then.count,
    totalMs: now.totalMs - then.totalMs,
    atMost: new Map([...now.atMost].map(([bound, count]) => [bound, count - (then.atMost.get(bound) ?? 0)])),
  };
}

/** Between which two bounds the 95th percentile lies; more a histogram does not tell. */
export function p95Of({ count, atMost }: OperationTimes): {
  readonly aboveMs: number;
  /** Null beyond the highest bound. */
  readonly atMostMs: number | null;
} {
  let aboveMs = 0;
  for (const [bound, below] of atMost) {
    if (below >= 0.95 * count) return { aboveMs, atMostMs: bound === Infinity ? null : bound };
    aboveMs = bound;
  }
  return { aboveMs, atMostMs: null };
}
