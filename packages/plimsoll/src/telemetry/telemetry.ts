import { performance } from 'node:perf_hooks';
import {
  breakers,
  cacheReads,
  seenStores,
  httpClientRequests,
  httpRequests,
  operations,
  poolWaits,
  queries,
  idempotency,
  refusals,
  retries,
  routes,
  sagas,
  tasks,
  type MessageChannel,
} from '../kernel/channels.ts';
import { meterEventLoop, type EventLoopWindow } from './event-loop.ts';
import {
  cacheMetrics,
  seenStoreMetrics,
  durationMetrics,
  guardMetrics,
  processMetrics,
  routeMetrics,
  sagaMetrics,
  spanMetrics,
} from './measured.ts';
import { KeyedCounts, KeyedDurations, RecentDurations, type Percentiles } from './meter.ts';
import type { Metric } from './metrics.ts';
import { isOf } from './own-messages.ts';
import { exportOtlp, type OtlpOptions } from './otlp.ts';
import type { SlowRequest, Span } from './span.ts';
import { recordSpans, type SpanOptions } from './spans.ts';
import { beginningOf } from './statement-text.ts';

/** A request to another server: by the status, or by the error where no answer came. */
export type ClientRequestKey = {
  readonly 'http.request.method': string;
  readonly 'server.address': string;
  readonly 'url.template': string;
} & ({ readonly 'http.response.status_code': number } | { readonly 'error.type': string });

/** Everything measured, under OpenTelemetry's names where there is one. Durations since the start, in ms. */
export interface TelemetrySnapshot {
  readonly 'http.server.request.duration': readonly (Percentiles & {
    readonly 'http.request.method': string;
    readonly 'http.route': string;
    readonly 'http.response.status_code': number;
  })[];
  readonly 'http.client.request.duration': readonly (Percentiles & ClientRequestKey)[];
  readonly 'plimsoll.operation.duration': readonly (Percentiles & {
    readonly operation: string;
    readonly outcome: string;
  })[];
  readonly 'db.client.operation.duration': readonly (Percentiles & {
    readonly 'db.query.text': string;
    readonly server: string;
  })[];
  readonly 'db.client.connection.wait_time': readonly (Percentiles & { readonly server: string })[];
  readonly 'plimsoll.task.duration': readonly (Percentiles & {
    readonly task: string;
    readonly outcome: string;
  })[];
  readonly 'plimsoll.task.lag': readonly (Percentiles & { readonly task: string })[];
  /** The window asked for. */
  readonly recent: {
    readonly lastMs: number;
    readonly eventLoop: EventLoopWindow;
    readonly poolWait: Percentiles;
  };
  readonly process: { readonly cpuMs: number; readonly rssBytes: number; readonly uptimeMs: number };
}

export interface TelemetryOptions extends SpanOptions {
  /** Sends spans and metrics to a collector. Default: nowhere. */
  readonly otlp?: OtlpOptions;
  /** Numbers of the app to be exported with those measured here. */
  readonly gauges?: () => readonly Metric[] | Promise<readonly Metric[]>;
  /** Scopes of guards and clients that belong to the app too, such as those of what it calls outside. */
  readonly parts?: readonly object[];
}

export interface Telemetry {
  snapshot(lastMs: number): TelemetrySnapshot;
  /** The same as histograms, counters and gauges, for Prometheus and OTLP. */
  metrics(): Promise<readonly Metric[]>;
  /** The newest sampled spans, oldest first. */
  spans(): readonly Span[];
  /** The newest slow requests, oldest first, sampled or not. */
  slowRequests(): readonly SlowRequest[];
  /** Counts no more from the call on; resolves when what was left has been sent or given up. */
  stop(): Promise<void>;
}

const maxQueries = 500;
const maxRoutes = 1_000;
const maxGuards = 500;

/** Subscribes to the channels of one app and keeps its timers. */
export function createTelemetry(scope: object, options: TelemetryOptions = {}): Telemetry {
  const http = new KeyedDurations<{
    'http.request.method': string;
    'http.route': string;
    'http.response.status_code': number;
  }>(maxRoutes);
  const sent = new KeyedDurations<ClientRequestKey>(maxRoutes);
  const operation = new KeyedDurations<{ operation: string; outcome: string }>(maxRoutes);
  const query = new KeyedDurations<{ 'db.query.text': string; server: string }>(maxQueries);
  const wait = new KeyedDurations<{ server: string }>(100);
  const recentWait = new RecentDurations();
  const task = new KeyedDurations<{ task: string; outcome: string }>(maxRoutes);
  const lag = new KeyedDurations<{ task: string }>(maxRoutes);
  const refused = new KeyedCounts<{ policy: string; name: string }>(maxGuards);
  const keyed = new KeyedCounts<{ work: string; outcome: string }>(maxGuards);
  const repeated = new KeyedCounts<{ kind: string; name: string }>(maxGuards);
  const switched = new KeyedCounts<{ to: string; name: string }>(maxGuards);
  const routed = new KeyedCounts<{ role: string; reason: string }>(maxGuards);
  const cached = new KeyedCounts<{ cache: string; tier: string; outcome: string }>(maxGuards);
  const sagaTurned = new KeyedCounts<{ saga: string; state: string }>(maxRoutes);
  const seenStored = new KeyedCounts<{ call: string; outcome: string }>(maxGuards);
  const eventLoop = meterEventLoop();
  const exporter = options.otlp === undefined ? undefined : exportOtlp(options.otlp, metrics);
  const spans = recordSpans(scope, options, (span) => exporter?.offer(span));

  const isOwn = isOf(scope, options.parts);
  const own = <Message extends { readonly scope: object }>(
    channel: MessageChannel<Message>,
    listener: (message: Message) => void,
  ): (() => void) =>
    channel.subscribe((message) => {
      if (isOwn(message)) listener(message);
    });

  const subscriptions = [
    own(httpRequests, ({ method, route, status, durationMs }) => {
      http.record(route, method === 'GET' ? status : `${method} ${status}`, durationMs, () => ({
        'http.request.method': method,
        'http.route': route,
        'http.response.status_code': status,
      }));
    }),
    own(httpClientRequests, ({ method, address, template, status, errorType = '', durationMs }) => {
      sent.record(`${address} ${template}`, `${method} ${status ?? errorType}`, durationMs, () => ({
        'http.request.method': method,
        'server.address': address,
        'url.template': template,
        ...(status === undefined ? { 'error.type': errorType } : { 'http.response.status_code': status }),
      }));
    }),
    own(operations, ({ operation: name, outcome, durationMs }) => {
      operation.record(name, outcome, durationMs, () => ({ operation: name, outcome }));
    }),
    own(queries, ({ text: whole, server, durationMs }) => {
      const text = beginningOf(whole);
      query.record(text, server, durationMs, () => ({ 'db.query.text': text, server }));
    }),
    own(poolWaits, ({ server, waitMs }) => {
      wait.record(server, '', waitMs, () => ({ server }));
      recentWait.record(waitMs, performance.now());
    }),
    own(tasks, ({ name, outcome, durationMs, lagMs }) => {
      task.record(name, outcome, durationMs, () => ({ task: name, outcome }));
      lag.record(name, '', lagMs, () => ({ task: name }));
    }),
    own(sagas, ({ name: saga, state }) => sagaTurned.add({ saga, state })),
    own(routes, ({ role, reason }) => routed.add({ role, reason })),
    own(cacheReads, ({ name: cache, tier, outcome }) => cached.add({ cache, tier, outcome })),
    own(seenStores, ({ call, outcome }) => seenStored.add({ call, outcome })),
    own(refusals, ({ policy, name }) => refused.add({ policy, name })),
    own(idempotency, ({ work, outcome }) => keyed.add({ work, outcome })),
    own(retries, ({ kind, name }) => repeated.add({ kind, name })),
    own(breakers, ({ to, name }) => switched.add({ to, name })),
  ];

  async function metrics(): Promise<readonly Metric[]> {
    return [
      ...durationMetrics({
        http: http.points(),
        sent: sent.points(),
        operation: operation.points(),
        query: query.points(),
        wait: wait.points(),
        task: task.points(),
        lag: lag.points(),
      }),
      ...routeMetrics(routed.points()),
      ...sagaMetrics(sagaTurned.points()),
      ...cacheMetrics(cached.points()),
      ...seenStoreMetrics(seenStored.points()),
      ...guardMetrics(refused.points(), repeated.points(), switched.points(), keyed.points()),
      ...processMetrics(eventLoop.window(10_000)),
      ...spanMetrics({
        recorded: spans.recorded,
        exported: exporter?.exported ?? 0,
        dropped: exporter?.dropped ?? 0,
      }),
      ...((await options.gauges?.()) ?? []),
    ];
  }

  return {
    metrics,
    spans: () => spans.recent(),
    slowRequests: () => spans.slow(),
    snapshot(lastMs) {
      const { user, system } = process.cpuUsage();
      return {
        'http.server.request.duration': http.snapshot(),
        'http.client.request.duration': sent.snapshot(),
        'plimsoll.operation.duration': operation.snapshot(),
        'db.client.operation.duration': query.snapshot(),
        'db.client.connection.wait_time': wait.snapshot(),
        'plimsoll.task.duration': task.snapshot(),
        'plimsoll.task.lag': lag.snapshot(),
        recent: {
          lastMs,
          eventLoop: eventLoop.window(lastMs),
          poolWait: recentWait.window(lastMs, performance.now()),
        },
        process: {
          cpuMs: (user + system) / 1_000,
          rssBytes: process.memoryUsage.rss(),
          uptimeMs: process.uptime() * 1_000,
        },
      };
    },
    async stop() {
      for (const unsubscribe of subscriptions) unsubscribe();
      spans.stop();
      eventLoop.stop();
      await exporter?.stop();
    },
  };
}
