/**
 * `plimsoll/telemetry`: what the app measures about itself, and its log lines.
 *
 * Guarantee: every request, operation, statement, wait for a connection and task is timed, by subscribing to
 * the `plimsoll:*` diagnostics channels and by nothing else; memory is bounded however many routes or
 * statements there are; two apps in one process are kept apart.
 *
 * Not promised: exact percentiles. Node's HDR histogram keeps two significant digits.
 */
export { createLogger, logChannels, type Logger, type LoggerOptions } from './logs.ts';
export { createTelemetry, type Telemetry, type TelemetrySnapshot } from './telemetry.ts';
export { type Percentiles } from './meter.ts';
export { type EventLoopWindow } from './event-loop.ts';
