import { afterEach, expect, test } from 'vitest';
import * as channels from '../kernel/channels.ts';
import { prometheusText } from './prometheus.ts';
import { createTelemetry, type Telemetry } from './telemetry.ts';

const running: Telemetry[] = [];
afterEach(async () => {
  for (const telemetry of running.splice(0)) await telemetry.stop();
});

function started(scope: object): Telemetry {
  const telemetry = createTelemetry(scope);
  running.push(telemetry);
  return telemetry;
}

function request(scope: object, durationMs: number, route = '/orders/:id'): void {
  const base = { scope, method: 'GET', operation: undefined, status: 200, correlationId: 'c' };
  channels.httpRequests.publish({ ...base, route, durationMs });
}

/** Every sample, checked against the grammar of the text format. */
function samples(text: string): Map<string, number> {
  expect(text.endsWith('\n')).toBe(true);
  const found = new Map<string, number>();
  const types = new Map<string, string>();
  const sample =
    /^([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (NaN|[+-]Inf|-?[\d.]+(?:e[+-]?\d+)?)$/;
  for (const line of text.trimEnd().split('\n')) {
    const type = /^# TYPE (\S+) (histogram|counter|gauge)$/.exec(line);
    if (type !== null) {
      expect(types.has(type[1]!), `${type[1]} is declared twice`).toBe(false);
      types.set(type[1]!, type[2]!);
    }
    if (line.startsWith('#')) continue;
    const parts = sample.exec(line);
    expect(parts, line).not.toBeNull();
    expect(types.has(parts![1]!.replace(/_(bucket|sum|count)$/, '')) || types.has(parts![1]!), line).toBe(
      true,
    );
    const series = `${parts![1]}${parts![2] ?? ''}`;
    expect(found.has(series), `${series} is there twice`).toBe(false);
    found.set(series, Number(parts![3]!.replace('Inf', 'Infinity')));
  }
  return found;
}

test('requests are a histogram: cumulative buckets, an edge in its own, sum and count', async () => {
  const scope = {};
  const telemetry = started(scope);
  for (const ms of [0.5, 1, 1.1, 100, 60_000]) request(scope, ms);
  // #region prometheus
  const text = prometheusText(await telemetry.metrics());
  // #endregion
  const found = samples(text);
  const labels = 'http_request_method="GET",http_route="/orders/:id",http_response_status_code="200"';
  const name = 'http_server_request_duration_seconds';
  const upTo = (le: string): number | undefined => found.get(`${name}_bucket{${labels},le="${le}"}`);
  expect([upTo('0.001'), upTo('0.0025'), upTo('0.075'), upTo('0.1'), upTo('10'), upTo('+Inf')]).toEqual([
    2, 3, 3, 4, 4, 5,
  ]);
  expect(found.get(`${name}_count{${labels}}`)).toBe(5);
  expect(found.get(`${name}_sum{${labels}}`)).toBeCloseTo(60.1026, 6);
});

test('hostile label values stay inside their quotes', async () => {
  const scope = {};
  const telemetry = started(scope);
  request(scope, 1, '/a"} 1\nevil{x="\\');
  const found = samples(prometheusText(await telemetry.metrics()));
  expect([...found.keys()].some((series) => series.startsWith('evil'))).toBe(false);
  expect([...found.keys()].some((series) => series.includes('/a\\"} 1\\nevil{x=\\"\\\\'))).toBe(true);
});

test('statements are labelled by what they do, so texts without end make no series', async () => {
  const scope = {};
  const telemetry = started(scope);
  for (let at = 0; at < 700; at += 1)
    channels.queries.publish({
      scope,
      server: 'primary',
      text: at % 2 === 0 ? `select ${at}` : `\n  update t set a = ${at}`,
      durationMs: 1,
      rows: 1,
      operation: undefined,
    });
  const counts = [...samples(prometheusText(await telemetry.metrics()))].filter(([series]) =>
    series.startsWith('db_client_operation_duration_seconds_count'),
  );
  expect(new Set(counts.map(([series]) => /operation_name="(\w+)"/.exec(series)?.[1]))).toEqual(
    new Set(['OTHER', 'SELECT', 'UPDATE']),
  );
  expect(counts.reduce((sum, [, count]) => sum + count, 0)).toBe(700);
});

test('names and units are translated by the rules of OpenTelemetry', async () => {
  const found = samples(prometheusText(await started({}).metrics()));
  expect([...found.keys()]).toEqual(
    expect.arrayContaining([
      'process_cpu_time_seconds_total{cpu_mode="user"}',
      'process_memory_usage_bytes',
      'nodejs_eventloop_utilization_ratio',
      'plimsoll_telemetry_spans_total{outcome="dropped"}',
    ]),
  );
});
