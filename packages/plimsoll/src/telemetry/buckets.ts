/** Upper edges in seconds: those of OpenTelemetry's conventions for HTTP, and finer below 5 ms for statements. */
export const boundsSeconds: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
const boundsMs = boundsSeconds.map((seconds) => seconds * 1_000);

/** Durations counted by bucket: an edge belongs to its bucket, and the last one has no edge. */
export class Buckets {
  readonly counts: number[] = boundsMs.map(() => 0).concat(0);
  sumMs = 0;

  record(ms: number): void {
    let index = 0;
    // Sixteen edges: a plain loop beats a binary search, and most durations are in the first few.
    while (index < boundsMs.length && ms > (boundsMs[index] as number)) index += 1;
    this.counts[index] = (this.counts[index] ?? 0) + 1;
    this.sumMs += ms;
  }
}
