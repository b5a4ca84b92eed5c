import { boundsSeconds } from './buckets.ts';
import type { EventLoopWindow } from './event-loop.ts';
import {
  mergePoints,
  type Attributes,
  type HistogramPoint,
  type Metric,
  type NumberPoint,
} from './metrics.ts';
import { statementVerb } from './statement-text.ts';

interface Points {
  readonly http: readonly HistogramPoint[];
  readonly sent: readonly HistogramPoint[];
  readonly operation: readonly HistogramPoint[];
  readonly query: readonly HistogramPoint[];
  readonly wait: readonly HistogramPoint[];
  readonly task: readonly HistogramPoint[];
  readonly lag: readonly HistogramPoint[];
}

/** Statements by what they do, not by their text: 500 texts of 2000 characters are no labels. */
export function durationMetrics(points: Points): readonly Metric[] {
  const histogram = (name: string, description: string, of: readonly HistogramPoint[]): Metric => ({
    name,
    unit: 's',
    description,
    kind: 'histogram',
    boundsSeconds,
    points: mergePoints(of),
  });
  const queries = points.query.map((point) => ({
    ...point,
    attributes: statementAttributes(point.attributes),
  }));
  const waits = points.wait.map((point) => ({
    ...point,
    attributes: { 'db.client.connection.pool.name': String(point.attributes['server']) },
  }));
  return [
    histogram('http.server.request.duration', 'Duration of HTTP requests.', points.http),
    histogram(
      'http.client.request.duration',
      'Duration of attempts of HTTP requests to others.',
      points.sent,
    ),
    histogram('plimsoll.operation.duration', 'Duration of operations and subscriptions.', points.operation),
    histogram('db.client.operation.duration', 'Duration of statements, as the app saw it.', queries),
    histogram('db.client.connection.wait_time', 'Wait for a connection of a pool.', waits),
    histogram('plimsoll.task.duration', 'Duration of jobs and deliveries.', points.task),
    histogram('plimsoll.task.lag', 'From when a task was due to when it was claimed.', points.lag),
  ];
}

function statementAttributes({ 'db.query.text': text, server }: Attributes): Attributes {
  return {
    'db.system.name': 'postgresql',
    'db.operation.name': statementVerb(String(text)),
    server: String(server),
  };
}

export function processMetrics(eventLoop: EventLoopWindow): readonly Metric[] {
  const { user, system } = process.cpuUsage();
  const gauge = (name: string, unit: string, description: string, value: number): Metric => ({
    name,
    unit,
    description,
    kind: 'gauge',
    points: [{ attributes: {}, value }],
  });
  return [
    {
      name: 'process.cpu.time',
      unit: 's',
      description: 'CPU time of the process.',
      kind: 'counter',
      points: [
        { attributes: { 'cpu.mode': 'user' }, value: user / 1e6 },
        { attributes: { 'cpu.mode': 'system' }, value: system / 1e6 },
      ],
    },
    gauge('process.memory.usage', 'By', 'Resident memory of the process.', process.memoryUsage.rss()),
    gauge('process.uptime', 's', 'Since the process began.', process.uptime()),
    gauge('nodejs.eventloop.utilization', '1', 'Busy share of the last 10 s.', eventLoop.utilization),
    gauge('nodejs.eventloop.delay.p99', 's', 'Worst second of the last 10.', eventLoop.delayP99Ms / 1_000),
  ];
}

export function spanMetrics(counts: Readonly<Record<string, number>>): readonly Metric[] {
  return [
    {
      name: 'plimsoll.telemetry.spans',
      unit: '{span}',
      description: 'Sampled spans: recorded here, exported, dropped on the way.',
      kind: 'counter',
      points: Object.entries(counts).map(([outcome, value]) => ({ attributes: { outcome }, value })),
    },
  ];
}

/** What guards of calls did: refused, made again, opened and closed; and what was not done twice. */
export function guardMetrics(
  refusals: readonly NumberPoint[],
  retries: readonly NumberPoint[],
  transitions: readonly NumberPoint[],
  keyed: readonly NumberPoint[],
): readonly Metric[] {
  const counter = (
    name: string,
    unit: string,
    description: string,
    points: readonly NumberPoint[],
  ): Metric => ({
    name,
    unit,
    description,
    kind: 'counter',
    points,
  });
  return [
    counter('plimsoll.refusals', '{call}', 'Calls that a guard refused, by policy and name.', refusals),
    counter('plimsoll.retries', '{call}', 'Calls made again or beside the first one.', retries),
    counter('plimsoll.breaker.transitions', '{transition}', 'Breakers that went into a state.', transitions),
    counter(
      'plimsoll.idempotency',
      '{call}',
      'Work under a known idempotency key, by what came of it: replayed, busy, reused, not-kept.',
      keyed,
    ),
  ];
}

/** Where reads went and why: the offload is the share of `replica`. */
export function routeMetrics(points: readonly NumberPoint[]): readonly Metric[] {
  return [
    {
      name: 'plimsoll.database.routes',
      unit: '{read}',
      description: 'Reads that were routed, by role of the server and reason.',
      kind: 'counter',
      points,
    },
  ];
}

/** Who answered what caches were asked: the hit rate of a tier is its share of `hit`. */
export function cacheMetrics(points: readonly NumberPoint[]): readonly Metric[] {
  return [
    {
      name: 'plimsoll.cache.reads',
      unit: '{read}',
      description: 'Reads of caches, by the tier that answered and how.',
      kind: 'counter',
      points,
    },
  ];
}

export function seenStoreMetrics(points: readonly NumberPoint[]): readonly Metric[] {
  return [
    {
      name: 'plimsoll.seen.store.calls',
      unit: '{call}',
      description: 'Calls to the store of what clients have seen, by call and outcome.',
      kind: 'counter',
      points,
    },
  ];
}

/** Where sagas came to: the ends, the turns back and those that are stuck. */
export function sagaMetrics(points: readonly NumberPoint[]): readonly Metric[] {
  return [
    {
      name: 'plimsoll.saga.transitions',
      unit: '{saga}',
      description: 'Sagas that were done, began to go back, were compensated or got stuck.',
      kind: 'counter',
      points,
    },
  ];
}
