import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, inject, test, vi } from 'vitest';
import { z } from 'zod';
import { createTestDatabase } from '@plimsoll/embedded';
import { command, contract, createApp, event, module, plan, route, sql } from '../index.ts';
import { untilIdle } from '../testing/until-idle.ts';
import { createLogger } from './logs.ts';
import { exportOtlp } from './otlp.ts';
import { traceparent } from './sampling.ts';

const orders = contract('orders', {
  place: command({ input: z.object({ id: z.number() }) }),
  confirm: command({ input: z.object({ id: z.number() }) }),
  placed: event({ payload: z.object({ id: z.number() }) }),
});
const sentOut: (string | undefined)[] = [];
const ordersModule = module(orders, {
  owns: { schema: 'orders' },
  commands: {
    async place({ id }, { tx, emit }) {
      await tx.query(sql`select ${id}::int as placed`);
      emit(orders.placed, { id });
    },
    async confirm({ id }, { tx }) {
      await tx.query(sql`select ${id}::int as confirmed`);
      sentOut.push(traceparent());
    },
  },
  on: (on) => [
    on(orders.placed, { name: 'confirm-placed' }, async ({ id }, { enqueue }) => {
      enqueue(orders.confirm, { id });
    }),
  ],
});

async function running(): Promise<{
  app: ReturnType<typeof createApp>;
  lines: () => Record<string, unknown>[];
  close: () => Promise<void>;
}> {
  const database = await createTestDatabase(inject('cluster'));
  let written = '';
  const destination = { write: (line: string): void => void (written += line) };
  const app = createApp(
    plan({
      name: 'shop',
      modules: [ordersModule],
      http: { port: 0, routes: [route('/orders', orders.place)] },
      telemetry: { sampleRatio: 0 },
      expectedPeak: { requestsPerSecond: 10 },
      objectives: { default: { p95Ms: 100, errorRate: 0 } },
    }),
    { databaseUrl: database.url, logger: createLogger({ name: 'shop', level: 'debug', destination }) },
  );
  await app.start();
  return {
    app,
    lines: () =>
      written
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    async close() {
      await app.stop();
      await database.drop();
    },
  };
}

const post = (url: string, headers: Record<string, string>): Promise<Response> =>
  fetch(`${url}/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: '{"id":1}',
  });

test('one correlation id and one trace from HTTP through command, event, subscription and job to the log', async () => {
  const { app, lines, close } = await running();
  try {
    const [trace, caller] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
    const given = { 'x-correlation-id': 'mine-1', traceparent: `00-${trace}-${caller}-01` };
    expect((await post(app.url, given)).status).toBe(204);
    await untilIdle(app);
    // The ends of request and tasks are told just after they can be seen.
    await expect
      .poll(() => app.spans().filter(({ kind }) => kind !== 'client').length)
      .toBeGreaterThanOrEqual(6);

    const spans = app.spans();
    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set([trace]));
    const one = (name: string, kind: string): (typeof spans)[number] => {
      const found = spans.filter((span) => span.name === name && span.kind === kind);
      expect(found, `${kind} ${name}`).toHaveLength(1);
      return found[0]!;
    };
    const request = one('POST /orders', 'server');
    const placing = one('orders.place', 'internal');
    const delivery = one('delivery orders.confirm-placed', 'consumer');
    const job = one('job orders.confirm', 'consumer');
    expect([request, delivery, job].map(({ parentSpanId }) => parentSpanId)).toEqual([
      caller,
      caller,
      caller,
    ]);
    expect(placing.parentSpanId).toBe(request.spanId);
    const [subscription, confirming] = [
      one('orders.confirm-placed', 'internal'),
      one('orders.confirm', 'internal'),
    ];
    expect(subscription.parentSpanId).toBe(delivery.spanId);
    expect(confirming.parentSpanId).toBe(job.spanId);
    const statement = spans.find(({ attributes }) =>
      String(attributes['db.query.text']).endsWith('as confirmed'),
    );
    expect(statement?.parentSpanId).toBe(confirming.spanId);
    expect(sentOut.at(-1)).toBe(`00-${trace}-${confirming.spanId}-01`);

    const told = lines().filter((line) => line['correlationId'] === 'mine-1');
    expect(told.map((line) => [line['msg'], line['operation'] ?? line['task'] ?? line['route']])).toEqual(
      expect.arrayContaining([
        ['request', '/orders'],
        ['operation', 'orders.place'],
        ['operation', 'orders.confirm-placed'],
        ['task', 'orders.confirm-placed'],
        ['operation', 'orders.confirm'],
        ['task', 'orders.confirm'],
      ]),
    );
    for (const line of told) expect(line['traceId']).toBe(trace);

    // Without a caller's decision nothing is sampled here, and no log line names a trace that is nowhere.
    const plain = await post(app.url, {});
    await untilIdle(app);
    expect(app.spans()).toHaveLength(spans.length);
    const id = plain.headers.get('x-correlation-id');
    await expect
      .poll(() => lines().filter((line) => line['correlationId'] === id).length)
      .toBeGreaterThanOrEqual(6);
    for (const line of lines().filter((each) => each['correlationId'] === id))
      expect(line).not.toHaveProperty('traceId');

    // Without a correlation id of its own a traced request gets that of its trace.
    const traced = await post(app.url, { traceparent: `00-${trace}-${caller}-00` });
    expect(traced.headers.get('x-correlation-id')).toBe('0af76519-16cd-43dd-8448-eb211c80319c');
    await untilIdle(app);
    expect(app.spans()).toHaveLength(spans.length);
  } finally {
    await close();
  }
});

test('/-/metrics answers in the text format, with what the app knows of itself, to loopback only', async () => {
  const { app, close } = await running();
  try {
    await post(app.url, {});
    const answer = await fetch(`${app.url}/-/metrics`);
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const text = await answer.text();
    expect(text).toContain(
      'http_server_request_duration_seconds_count{http_request_method="POST",http_route="/orders"',
    );
    expect(text).toMatch(/^db_client_connection_max\{db_client_connection_pool_name="primary"\} \d+$/m);
    expect(text).toMatch(/^plimsoll_tasks\{state="parked"\} 0$/m);
    const forwarded = await fetch(`${app.url}/-/metrics`, { headers: { 'x-forwarded-for': '203.0.113.7' } });
    expect(forwarded.status).toBe(404);
  } finally {
    await close();
  }
});

test('an app sends its spans where OTEL_EXPORTER_OTLP_ENDPOINT says', async () => {
  const bodies: string[] = [];
  const collector = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += String(chunk)));
    request.on('end', () => {
      if (request.url === '/v1/traces') bodies.push(body);
      response.end('{}');
    });
  }).listen(0, '127.0.0.1');
  await once(collector, 'listening');
  const { port } = collector.address() as AddressInfo;
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', `http://127.0.0.1:${port}`);
  const { app, close } = await running();
  try {
    await post(app.url, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    await untilIdle(app);
  } finally {
    vi.unstubAllEnvs();
    await close();
    collector.closeAllConnections();
    collector.close();
  }
  const sent = bodies.join('\n');
  for (const wanted of ['"service.name"', '"shop"', '"POST /orders"', '"job orders.confirm"'])
    expect(sent).toContain(wanted);
});

test('a real collector takes what we send', async (ctx) => {
  const name = ['otelcol', 'otelcol-contrib', 'jaeger', 'jaeger-all-in-one'].find((each) => {
    try {
      execFileSync('which', [each], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
  if (name === undefined)
    return ctx.skip('no otelcol, otelcol-contrib, jaeger or jaeger-all-in-one on the PATH');
  const setting =
    'yaml:receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:4318"}}}}\nexporters: {debug: {}}\nservice: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [debug]}, metrics: {receivers: [otlp], exporters: [debug]}}}';
  const collector = spawn(name, name.startsWith('otelcol') ? ['--config', setting] : [], { stdio: 'ignore' });
  try {
    const exporter = exportOtlp(
      { endpoint: 'http://127.0.0.1:4318', resource: { 'service.name': 'shop' }, flushMs: 20_000 },
      () => [],
    );
    exporter.offer({
      traceId: 'a'.repeat(32),
      spanId: 'b'.repeat(16),
      name: 'x',
      kind: 'server',
      startMs: Date.now(),
      durationMs: 1,
      attributes: {},
    });
    await expect.poll(() => exporter.exported, { timeout: 30_000 }).toBe(1);
    await exporter.stop();
    return undefined;
  } finally {
    collector.kill();
    await once(collector, 'exit');
  }
});
