const minuteMs = 60_000;

/**
 * Gaps between arrivals within each day, over their mean. The times have the resolution of a minute: those of
 * one minute are spread evenly over it. Nights and closed days are left out.
 */
export function gapsBetween(times: readonly string[]): number[] {
  const byMinute = Map.groupBy(
    times.map((time) => Date.parse(time)).toSorted((left, right) => left - right),
    (time) => Math.floor(time / minuteMs),
  );
  const spread = [...byMinute].flatMap(([minute, { length }]) =>
    Array.from({ length }, (_, index) => (minute + (index + 0.5) / length) * minuteMs),
  );
  const gaps: number[] = [];
  for (const [index, time] of spread.entries()) {
    const before = spread[index - 1];
    if (before !== undefined && dayOf(before) === dayOf(time)) gaps.push(time - before);
  }
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  return gaps.map((gap) => gap / mean);
}

const dayOf = (time: number): number => Math.floor(time / (24 * 60 * minuteMs));
