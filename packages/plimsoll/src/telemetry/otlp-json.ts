import type { Attributes, HistogramPoint, Metric, NumberPoint } from './metrics.ts';
import type { Span } from './span.ts';

/** The JSON mapping of OTLP: ids in hex, 64-bit numbers as strings, enums as numbers. */
const spanKinds = { internal: 1, server: 2, client: 3, consumer: 5 } as const;
const statusError = 2;
const cumulative = 2;
const scope = { name: 'plimsoll' };

interface KeyValue {
  readonly key: string;
  readonly value:
    | { readonly stringValue: string }
    | { readonly intValue: string }
    | { readonly doubleValue: number };
}

/** The body for `/v1/traces`. */
export function tracesBody(resource: Attributes, spans: readonly Span[]): unknown {
  return {
    resourceSpans: [
      { resource: { attributes: keyValues(resource) }, scopeSpans: [{ scope, spans: spans.map(spanBody) }] },
    ],
  };
}

function spanBody(span: Span): unknown {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentSpanId === undefined ? {} : { parentSpanId: span.parentSpanId }),
    name: span.name,
    kind: spanKinds[span.kind],
    startTimeUnixNano: nanos(span.startMs),
    endTimeUnixNano: nanos(span.startMs + span.durationMs),
    attributes: keyValues(span.attributes),
    status: span.error === undefined ? {} : { code: statusError, message: span.error },
  };
}

/** The body for `/v1/metrics`: everything counted since `startMs`. */
export function metricsBody(
  resource: Attributes,
  metrics: readonly Metric[],
  startMs: number,
  nowMs: number,
): unknown {
  const times = { startTimeUnixNano: nanos(startMs), timeUnixNano: nanos(nowMs) };
  const body = (metric: Metric): unknown => {
    const { name, unit, description } = metric;
    if (metric.kind === 'histogram') {
      const dataPoints = metric.points.map((point) => ({
        ...times,
        ...histogramPoint(point, metric.boundsSeconds),
      }));
      return { name, unit, description, histogram: { aggregationTemporality: cumulative, dataPoints } };
    }
    const dataPoints = metric.points.map((point) => ({ ...times, ...numberPoint(point) }));
    return metric.kind === 'gauge'
      ? { name, unit, description, gauge: { dataPoints } }
      : {
          name,
          unit,
          description,
          sum: { aggregationTemporality: cumulative, isMonotonic: true, dataPoints },
        };
  };
  return {
    resourceMetrics: [
      {
        resource: { attributes: keyValues(resource) },
        scopeMetrics: [{ scope, metrics: metrics.map(body) }],
      },
    ],
  };
}

function histogramPoint(
  { attributes, counts, sumSeconds }: HistogramPoint,
  bounds: readonly number[],
): object {
  return {
    attributes: keyValues(attributes),
    count: String(counts.reduce((sum, count) => sum + count, 0)),
    sum: sumSeconds,
    bucketCounts: counts.map(String),
    explicitBounds: bounds,
  };
}

function numberPoint({ attributes, value }: NumberPoint): object {
  return { attributes: keyValues(attributes), asDouble: value };
}

function keyValues(attributes: Attributes): readonly KeyValue[] {
  return Object.entries(attributes).map(([key, value]) => {
    if (typeof value === 'string') return { key, value: { stringValue: value } };
    return { key, value: Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value } };
  });
}

/** Nanoseconds since the epoch do not fit into a number. */
function nanos(ms: number): string {
  const whole = Math.floor(ms);
  return String(BigInt(whole) * 1_000_000n + BigInt(Math.round((ms - whole) * 1e6)));
}
