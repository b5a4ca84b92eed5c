/**
 * `plimsoll/telemetry`: what the app measures about itself, and its log lines.
 *
 * Guarantee: every request, operation, statement, wait for a connection and task is timed, by subscribing to
 * the `plimsoll:*` diagnostics channels and by nothing else; memory is bounded however many routes or
 * statements there are; two apps in one process are kept apart.
 *
 * One request is one trace through HTTP, operations, statements, events and jobs; whether it is sampled is
 * decided once. Spans and metrics go to a collector in the background and are dropped, and counted, rather
 * than hold up a request.
 *
 * Not promised: exact percentiles (Node's HDR histogram keeps two significant digits); that every span arrives.
 */
export { createLogger, logChannels, type Logger, type LoggerOptions } from './logs.ts';
export {
  createTelemetry,
  type Telemetry,
  type TelemetryOptions,
  type TelemetrySnapshot,
} from './telemetry.ts';
export { otlpDefaults, type OtlpOptions } from './otlp.ts';
export { otlpFromEnvironment } from './otlp-environment.ts';
export { prometheusText } from './prometheus.ts';
export { type Attributes, type HistogramPoint, type Metric, type NumberPoint } from './metrics.ts';
export { traceparent } from './sampling.ts';
export { spanDefaults, type SpanOptions } from './spans.ts';
export { type SlowRequest, type Span } from './span.ts';
export { type Percentiles } from './meter.ts';
export { type EventLoopWindow } from './event-loop.ts';
