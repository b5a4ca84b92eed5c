/** Numbers under OpenTelemetry's names, before they are written for Prometheus or for OTLP. */
export type Attributes = Readonly<Record<string, string | number>>;

export interface HistogramPoint {
  readonly attributes: Attributes;
  /** By bucket, not cumulative; one more than there are bounds. */
  readonly counts: readonly number[];
  readonly sumSeconds: number;
}

export interface NumberPoint {
  readonly attributes: Attributes;
  readonly value: number;
}

export type Metric = {
  /** `http.server.request.duration` */
  readonly name: string;
  /** UCUM: `s`, `By`, `1`, `{request}`. */
  readonly unit: string;
  readonly description: string;
} & (
  | {
      readonly kind: 'histogram';
      readonly boundsSeconds: readonly number[];
      readonly points: readonly HistogramPoint[];
    }
  | { readonly kind: 'counter' | 'gauge'; readonly points: readonly NumberPoint[] }
);

/** Points with the same attributes become one, because two of them would be a contradiction to every reader. */
export function mergePoints(points: readonly HistogramPoint[]): readonly HistogramPoint[] {
  const merged = new Map<string, { attributes: Attributes; counts: number[]; sumSeconds: number }>();
  for (const { attributes, counts, sumSeconds } of points) {
    const id = JSON.stringify(attributes);
    const known = merged.get(id);
    if (known === undefined) {
      merged.set(id, { attributes, counts: [...counts], sumSeconds });
      continue;
    }
    for (const [index, count] of counts.entries()) known.counts[index] = (known.counts[index] ?? 0) + count;
    known.sumSeconds += sumSeconds;
  }
  return [...merged.values()];
}
