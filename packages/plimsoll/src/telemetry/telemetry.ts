import { performance } from 'node:perf_hooks';
import {
  httpRequests,
  operations,
  poolWaits,
  queries,
  tasks,
  type MessageChannel,
} from '../kernel/channels.ts';
import { meterEventLoop, type EventLoopWindow } from './event-loop.ts';
import { KeyedDurations, RecentDurations, type Percentiles } from './meter.ts';

/** Everything measured, under OpenTelemetry's names where there is one. Durations since the start, in ms. */
export interface TelemetrySnapshot {
  readonly 'http.server.request.duration': readonly (Percentiles & {
    readonly 'http.request.method': string;
    readonly 'http.route': string;
    readonly 'http.response.status_code': number;
  })[];
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

export interface Telemetry {
  snapshot(lastMs: number): TelemetrySnapshot;
  stop(): void;
}

const maxQueries = 500;
const maxRoutes = 1_000;
const maxTextLength = 2_000;

/** Statements may be megabytes long. A copy, because a slice would keep the whole of it in memory. */
function beginningOf(text: string): string {
  if (text.length <= maxTextLength) return text;
  return Buffer.from(`${text.slice(0, maxTextLength)}…`).toString();
}

/** Subscribes to the channels of one app and keeps its timers. */
export function createTelemetry(scope: object): Telemetry {
  const http = new KeyedDurations<{
    'http.request.method': string;
    'http.route': string;
    'http.response.status_code': number;
  }>(maxRoutes);
  const operation = new KeyedDurations<{ operation: string; outcome: string }>(maxRoutes);
  const query = new KeyedDurations<{ 'db.query.text': string; server: string }>(maxQueries);
  const wait = new KeyedDurations<{ server: string }>(100);
  const recentWait = new RecentDurations();
  const task = new KeyedDurations<{ task: string; outcome: string }>(maxRoutes);
  const lag = new KeyedDurations<{ task: string }>(maxRoutes);
  const eventLoop = meterEventLoop();

  const own = <Message extends { readonly scope: object }>(
    channel: MessageChannel<Message>,
    listener: (message: Message) => void,
  ): (() => void) =>
    channel.subscribe((message) => {
      if (message.scope === scope) listener(message);
    });

  const subscriptions = [
    own(httpRequests, ({ method, route, status, durationMs }) => {
      http.record(
        `${method} ${route} ${status}`,
        { 'http.request.method': method, 'http.route': route, 'http.response.status_code': status },
        durationMs,
      );
    }),
    own(operations, (message) => {
      operation.record(
        `${message.operation} ${message.outcome}`,
        { operation: message.operation, outcome: message.outcome },
        message.durationMs,
      );
    }),
    own(queries, (message) => {
      const { server, durationMs } = message;
      const text = beginningOf(message.text);
      query.record(`${server} ${text}`, { 'db.query.text': text, server }, durationMs);
    }),
    own(poolWaits, ({ server, waitMs }) => {
      wait.record(server, { server }, waitMs);
      recentWait.record(waitMs, performance.now());
    }),
    own(tasks, ({ name, outcome, durationMs, lagMs }) => {
      task.record(`${name} ${outcome}`, { task: name, outcome }, durationMs);
      lag.record(name, { task: name }, lagMs);
    }),
  ];

  return {
    snapshot(lastMs) {
      const { user, system } = process.cpuUsage();
      return {
        'http.server.request.duration': http.snapshot(),
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
    stop() {
      for (const unsubscribe of subscriptions) unsubscribe();
      eventLoop.stop();
    },
  };
}
