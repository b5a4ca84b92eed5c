import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { httpRequests } from '../kernel/channels.ts';
import { boundsSeconds } from './buckets.ts';
import { otlpFromEnvironment } from './otlp-environment.ts';
import { exportOtlp, type OtlpExporter, type OtlpOptions } from './otlp.ts';
import type { Span } from './span.ts';
import { createTelemetry } from './telemetry.ts';

interface Received {
  readonly path: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Record<string, never>;
}
type Answer = { readonly status: number; readonly headers?: Record<string, string> } | 'never';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

/** A collector that writes down what it gets and answers as told; then with 200. */
async function receiver(
  answers: Answer[] = [],
): Promise<{ readonly url: string; readonly received: Received[] }> {
  const received: Received[] = [];
  const server = createServer((request, response) => void answerTo(request, response));
  async function answerTo(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Received['body'];
    received.push({ path: request.url ?? '', headers: request.headers, body });
    const answer = answers.shift() ?? { status: 200 };
    if (answer === 'never') return;
    response.writeHead(answer.status, answer.headers).end('{}');
  }
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}

function exporterTo(endpoint: string, more: Partial<OtlpOptions> = {}): OtlpExporter {
  const resource = { 'service.name': 'shop' };
  const exporter = exportOtlp({ endpoint, resource, spanIntervalMs: 5, retryMs: 5, ...more }, () => []);
  closing.push(() => exporter.stop());
  return exporter;
}

const span: Span = {
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  parentSpanId: 'c'.repeat(16),
  name: 'POST /orders',
  kind: 'server',
  startMs: 1_760_000_000_123.456,
  durationMs: 1.5,
  attributes: { 'http.route': '/orders', 'http.response.status_code': 500, ratio: 0.5 },
  error: 'PL_X: no',
};
const spansIn = ({ body }: Received): readonly unknown[] =>
  (body as unknown as { resourceSpans: { scopeSpans: { spans: unknown[] }[] }[] }).resourceSpans[0]!
    .scopeSpans[0]!.spans;

test('spans arrive in the JSON mapping of OTLP', async () => {
  const { url, received } = await receiver();
  const exporter = exporterTo(`${url}/`, { headers: { authorization: 'Bearer x' } });
  exporter.offer(span);
  await expect.poll(() => received.length).toBe(1);
  const [message] = received;
  expect(message).toMatchObject({
    path: '/v1/traces',
    headers: { 'content-type': 'application/json', authorization: 'Bearer x' },
  });
  expect(message!.body).toEqual({
    resourceSpans: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
        scopeSpans: [
          {
            scope: { name: 'plimsoll' },
            spans: [
              {
                traceId: 'a'.repeat(32),
                spanId: 'b'.repeat(16),
                parentSpanId: 'c'.repeat(16),
                name: 'POST /orders',
                kind: 2,
                startTimeUnixNano: expect.stringMatching(/^1760000000123456\d{3}$/) as string,
                endTimeUnixNano: expect.stringMatching(/^176000000012495[56]\d{3}$/) as string,
                attributes: [
                  { key: 'http.route', value: { stringValue: '/orders' } },
                  { key: 'http.response.status_code', value: { intValue: '500' } },
                  { key: 'ratio', value: { doubleValue: 0.5 } },
                ],
                status: { code: 2, message: 'PL_X: no' },
              },
            ],
          },
        ],
      },
    ],
  });
  await expect.poll(() => exporter.exported).toBe(1);
});

test('spans go in batches, and stop sends what is left', async () => {
  const { url, received } = await receiver();
  const exporter = exporterTo(url, { spanIntervalMs: 3_600_000, maxBatch: 10 });
  for (let at = 0; at < 25; at += 1) exporter.offer({ ...span, name: `s${at}` });
  await exporter.stop();
  const traces = received.filter(({ path }) => path === '/v1/traces');
  expect(traces.map((each) => spansIn(each).length)).toEqual([10, 10, 5]);
  expect([exporter.exported, exporter.dropped]).toEqual([25, 0]);
  exporter.offer(span);
  expect(exporter.dropped).toBe(1);
});

test.each([429, 502, 503, 504])('a collector that answers %i gets the same batch again', async (status) => {
  const { url, received } = await receiver([{ status }, { status, headers: { 'retry-after': '0' } }]);
  const exporter = exporterTo(url);
  exporter.offer(span);
  await expect.poll(() => exporter.exported).toBe(1);
  expect(received).toHaveLength(3);
  expect(received[2]!.body).toEqual(received[0]!.body);
  expect(exporter.lastFailure).toBeUndefined();
});

test('a batch that is refused for good is dropped, counted and explained', async () => {
  const { url, received } = await receiver([{ status: 400 }]);
  const exporter = exporterTo(url);
  exporter.offer(span);
  await expect.poll(() => exporter.dropped).toBe(1);
  expect(received).toHaveLength(1);
  expect(exporter.lastFailure).toContain('answered with 400');
});

test('a collector that hangs holds neither the app nor its stop, and the queue stays bounded', async () => {
  const { url } = await receiver(['never', 'never', 'never']);
  const exporter = exporterTo(url, { maxQueue: 20, maxBatch: 10, flushMs: 50, timeoutMs: 3_600_000 });
  exporter.offer(span);
  for (let at = 0; at < 100; at += 1) exporter.offer(span);
  expect(exporter.dropped).toBe(81);
  await exporter.stop();
  expect([exporter.exported, exporter.dropped]).toEqual([0, 101]);
});

test('a collector that is not there costs spans and nothing else', async () => {
  const exporter = exporterTo('http://127.0.0.1:1');
  exporter.offer(span);
  await expect.poll(() => exporter.dropped, { timeout: 5_000 }).toBe(1);
  expect(exporter.lastFailure).toContain('did not reach');
});

test('metrics arrive as cumulative histograms, sums and gauges, at the latest with the stop', async () => {
  const { url, received } = await receiver();
  const scope = {};
  const telemetry = createTelemetry(scope, { otlp: { endpoint: url, resource: { 'service.name': 'shop' } } });
  const base = { scope, method: 'GET', route: '/x', operation: undefined, status: 200, correlationId: 'c' };
  httpRequests.publish({ ...base, durationMs: 3 });
  await telemetry.stop();
  const message = received.find(({ path }) => path === '/v1/metrics');
  const { metrics } = (
    message!.body as unknown as {
      resourceMetrics: { scopeMetrics: { metrics: Record<string, unknown>[] }[] }[];
    }
  ).resourceMetrics[0]!.scopeMetrics[0]!;
  const named = (name: string): unknown => metrics.find((metric) => metric['name'] === name);
  expect(named('http.server.request.duration')).toMatchObject({
    unit: 's',
    histogram: {
      aggregationTemporality: 2,
      dataPoints: [
        {
          count: '1',
          sum: 0.003,
          bucketCounts: ['0', '0', '1', ...Array.from({ length: 14 }, () => '0')],
          explicitBounds: boundsSeconds,
        },
      ],
    },
  });
  expect(named('process.cpu.time')).toMatchObject({
    unit: 's',
    sum: {
      aggregationTemporality: 2,
      isMonotonic: true,
      dataPoints: [
        { asDouble: expect.any(Number) as number, timeUnixNano: expect.stringMatching(/^\d{19}$/) as string },
        {},
      ],
    },
  });
  expect(named('process.memory.usage')).toMatchObject({ unit: 'By', gauge: { dataPoints: [{}] } });
});

test('the environment says where to send and who we are', () => {
  expect(otlpFromEnvironment({}, 'shop')).toBeUndefined();
  const endpoint = 'http://collector:4318';
  expect(
    otlpFromEnvironment({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: 'true' }, 'shop'),
  ).toBeUndefined();
  expect(
    otlpFromEnvironment(
      {
        OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
        OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20x, a=b=c',
        OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=prod',
        OTEL_SERVICE_NAME: 'orders',
      },
      'shop',
    ),
  ).toEqual({
    endpoint,
    headers: { authorization: 'Bearer x', a: 'b=c' },
    resource: { 'service.name': 'orders', 'process.pid': process.pid, 'deployment.environment': 'prod' },
  });
});
