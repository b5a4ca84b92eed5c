import { systemClock, type Clock } from '../kernel/clock.ts';
import type { Attributes, Metric } from './metrics.ts';
import { metricsBody, tracesBody } from './otlp-json.ts';
import type { Span } from './span.ts';

export interface OtlpOptions {
  /** Where a collector takes OTLP over HTTP: `http://localhost:4318`. */
  readonly endpoint: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What this process is, as attributes; `service.name` names it. */
  readonly resource: Attributes;
  /** How long spans are gathered. Default 1000. */
  readonly spanIntervalMs?: number;
  /** How often metrics are sent. Default 60_000. */
  readonly metricIntervalMs?: number;
  /** Spans that wait; more are dropped and counted. Default 4096. */
  readonly maxQueue?: number;
  /** Spans in one request. Default 512. */
  readonly maxBatch?: number;
  /** Longest wait for an answer. Default 5000. */
  readonly timeoutMs?: number;
  /** Longest time that stop takes for what is left. Default 2000. */
  readonly flushMs?: number;
  /** First wait before a batch that was refused for now is sent again; doubled each time. Default 500. */
  readonly retryMs?: number;
}

export const otlpDefaults = {
  spanIntervalMs: 1_000,
  metricIntervalMs: 60_000,
  maxQueue: 4_096,
  maxBatch: 512,
  timeoutMs: 5_000,
  flushMs: 2_000,
  retryMs: 500,
} as const;

const maxTries = 5;
const maxWaitMs = 30_000;
const tryAgain = new Set([429, 502, 503, 504]);

export interface OtlpExporter {
  /** Takes a span for the next batch, or drops it; never waits. */
  offer(span: Span): void;
  readonly exported: number;
  readonly dropped: number;
  /** What the collector or the way to it said last, if it was no success. */
  readonly lastFailure: string | undefined;
  /** Sends what is left, for at most `flushMs`. */
  stop(): Promise<void>;
}

/** Sends spans and metrics to a collector in the background, and loses them rather than hold up the app. */
export function exportOtlp(
  options: OtlpOptions,
  metrics: () => readonly Metric[] | Promise<readonly Metric[]>,
  clock: Clock = systemClock,
): OtlpExporter {
  const settings = { ...otlpDefaults, ...options };
  const base = options.endpoint.replace(/\/+$/, '');
  const startMs = clock.now();
  const stopped = new AbortController();
  const given = new AbortController();
  let queue: Span[] = [];
  let exported = 0;
  let dropped = 0;
  let lastFailure: string | undefined;
  // Woken by a full batch or by stop, so that neither waits for the interval.
  let wake = new AbortController();

  /** Whether it was taken. */
  async function post(path: string, body: unknown): Promise<boolean> {
    const text = JSON.stringify(body);
    for (let tried = 1; ; tried += 1) {
      const waitMs = await send(path, text, tried);
      if (waitMs === 'taken') return true;
      if (waitMs === 'refused' || tried === maxTries || given.signal.aborted) return false;
      await clock.sleep(waitMs, given.signal);
    }
  }

  async function send(path: string, body: string, tried: number): Promise<'taken' | 'refused' | number> {
    const backoffMs = Math.min(maxWaitMs, settings.retryMs * 2 ** (tried - 1));
    try {
      const answer = await fetch(`${base}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...options.headers },
        body,
        signal: AbortSignal.any([given.signal, AbortSignal.timeout(settings.timeoutMs)]),
      });
      const said = await answer.text();
      if (answer.ok) {
        lastFailure = undefined;
        return 'taken';
      }
      lastFailure = `${path} was answered with ${answer.status}: ${said.slice(0, 200)}`;
      if (!tryAgain.has(answer.status)) return 'refused';
      const seconds = Number(answer.headers.get('retry-after') ?? Number.NaN);
      return seconds >= 0 ? Math.min(maxWaitMs, seconds * 1_000) : backoffMs;
    } catch (error) {
      lastFailure = `${path} did not reach ${base}: ${error instanceof Error ? error.message : String(error)}`;
      return backoffMs;
    }
  }

  async function sendSpans(): Promise<void> {
    while (queue.length > 0 && !given.signal.aborted) {
      const batch = queue.slice(0, settings.maxBatch);
      queue = queue.slice(settings.maxBatch);
      if (await post('/v1/traces', tracesBody(options.resource, batch))) exported += batch.length;
      else dropped += batch.length;
    }
  }

  async function sendMetrics(): Promise<void> {
    try {
      await post('/v1/metrics', metricsBody(options.resource, await metrics(), startMs, clock.now()));
    } catch (error) {
      lastFailure = `the metrics could not be read: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  async function spanLoop(): Promise<void> {
    while (!stopped.signal.aborted) {
      await clock.sleep(settings.spanIntervalMs, wake.signal);
      if (!stopped.signal.aborted) wake = new AbortController();
      await sendSpans();
    }
    await sendSpans();
  }

  async function metricLoop(): Promise<void> {
    while (!stopped.signal.aborted) {
      await clock.sleep(settings.metricIntervalMs, stopped.signal);
      await sendMetrics();
    }
  }

  const loops = Promise.all([spanLoop(), metricLoop()]);
  let stopping: Promise<void> | undefined;

  async function end(): Promise<void> {
    stopped.abort();
    wake.abort();
    const flushed = new AbortController();
    const late = clock.sleep(settings.flushMs, flushed.signal).then(() => given.abort());
    await loops;
    flushed.abort();
    await late;
    dropped += queue.length;
    queue = [];
  }

  return {
    offer(span) {
      if (stopped.signal.aborted || queue.length >= settings.maxQueue) {
        dropped += 1;
        return;
      }
      queue.push(span);
      if (queue.length >= settings.maxBatch) wake.abort();
    },
    get exported() {
      return exported;
    },
    get dropped() {
      return dropped;
    },
    get lastFailure() {
      return lastFailure;
    },
    stop: () => (stopping ??= end()),
  };
}
