import { afterEach, describe, expect, test, vi } from 'vitest';
import * as channels from '../kernel/channels.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { rootSpan } from '../kernel/trace.ts';
import { createLogger, logChannels } from './logs.ts';
import { createTelemetry } from './telemetry.ts';

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

function telemetryOf(scope: object): ReturnType<typeof createTelemetry> {
  const telemetry = createTelemetry(scope);
  stops.push(() => void telemetry.stop());
  return telemetry;
}

const correlationId = 'c-1';

function request(scope: object, more: Partial<channels.HttpRequestMessage> = {}): void {
  channels.httpRequests.publish({
    scope,
    method: 'GET',
    route: '/orders/:id',
    operation: 'orders.byId',
    status: 200,
    durationMs: 5,
    correlationId,
    ...more,
  });
}

function operation(scope: object, more: Partial<channels.OperationMessage> = {}): void {
  channels.operations.publish({
    scope,
    operation: 'orders.byId',
    kind: 'query',
    outcome: 'ok',
    durationMs: 4,
    span: rootSpan(correlationId),
    ...more,
  });
}

function statement(scope: object, text: string): void {
  channels.queries.publish({ scope, server: 'primary', text, durationMs: 2, rows: 1, operation: undefined });
}

function wait(scope: object, waitMs: number): void {
  channels.poolWaits.publish({ scope, server: 'primary', waitMs, inUse: 1, max: 10, waiting: 0 });
}

function task(scope: object, more: Partial<channels.TaskMessage> = {}): void {
  channels.tasks.publish({
    scope,
    name: 'orders.ship',
    kind: 'job',
    outcome: 'done',
    attempt: 1,
    durationMs: 3,
    lagMs: 20,
    correlationId,
    ...more,
  });
}

describe('telemetry', () => {
  test('times requests, operations, statements, waits and tasks under their names', () => {
    const scope = {};
    // #region telemetry
    const telemetry = createTelemetry(scope);
    // #endregion
    stops.push(() => void telemetry.stop());
    request(scope);
    request(scope, { status: 500, durationMs: 50 });
    operation(scope, { outcome: 'failed' });
    statement(scope, 'select $1');
    wait(scope, 7);
    task(scope);
    // #region snapshot
    const snapshot = telemetry.snapshot(10_000);
    const routes = snapshot['http.server.request.duration'];
    const { poolWait, eventLoop } = snapshot.recent;
    // #endregion
    expect(routes).toHaveLength(2);
    expect([poolWait, eventLoop]).toEqual([snapshot.recent.poolWait, snapshot.recent.eventLoop]);
    expect(snapshot['http.server.request.duration']).toMatchObject([
      {
        'http.request.method': 'GET',
        'http.route': '/orders/:id',
        'http.response.status_code': 200,
        count: 1,
      },
      {
        'http.request.method': 'GET',
        'http.route': '/orders/:id',
        'http.response.status_code': 500,
        count: 1,
      },
    ]);
    expect(snapshot['plimsoll.operation.duration']).toMatchObject([
      { operation: 'orders.byId', outcome: 'failed', count: 1 },
    ]);
    expect(snapshot['db.client.operation.duration']).toMatchObject([
      { 'db.query.text': 'select $1', server: 'primary', count: 1 },
    ]);
    expect(snapshot['db.client.connection.wait_time']).toMatchObject([{ server: 'primary', count: 1 }]);
    expect(snapshot['plimsoll.task.duration']).toMatchObject([
      { task: 'orders.ship', outcome: 'done', count: 1 },
    ]);
    expect(snapshot['plimsoll.task.lag']).toMatchObject([{ task: 'orders.ship', count: 1 }]);
    expect(snapshot.recent).toMatchObject({ lastMs: 10_000, poolWait: { count: 1 } });
    expect(snapshot.recent.poolWait.maxMs).toBeCloseTo(7, 1);
    expect(snapshot.recent.eventLoop.utilization).toBeGreaterThanOrEqual(0);
    expect(snapshot.recent.eventLoop.utilization).toBeLessThanOrEqual(1);
    expect(snapshot.process.rssBytes).toBeGreaterThan(1_000_000);
    // It is answered over HTTP as it is.
    expect(JSON.parse(JSON.stringify(snapshot))).toEqual(snapshot);
  });

  test('counts where reads went, and why', async () => {
    const scope = {};
    const telemetry = telemetryOf(scope);
    const read = { scope, server: 'replica-1', consistency: 'session', waitedMs: 0, operation: undefined };
    channels.routes.publish({ ...read, role: 'replica', reason: 'token' });
    channels.routes.publish({ ...read, role: 'replica', reason: 'token' });
    channels.routes.publish({ ...read, server: 'primary-reads', role: 'primary', reason: 'lag' });
    channels.routes.publish({ ...read, scope: {}, role: 'refused', reason: 'budget' });
    const metric = (await telemetry.metrics()).find(({ name }) => name === 'plimsoll.database.routes');
    expect(metric?.points).toEqual([
      { attributes: { role: 'replica', reason: 'token' }, value: 2 },
      { attributes: { role: 'primary', reason: 'lag' }, value: 1 },
    ]);
  });

  test('two apps in one process are kept apart', () => {
    const [one, two] = [{}, {}];
    const [ofOne, ofTwo] = [telemetryOf(one), telemetryOf(two)];
    request(one);
    request(one);
    statement(two, 'select 1');
    task({});
    expect(ofOne.snapshot(1_000)['http.server.request.duration']).toMatchObject([{ count: 2 }]);
    expect(ofOne.snapshot(1_000)['db.client.operation.duration']).toEqual([]);
    expect(ofTwo.snapshot(1_000)['http.server.request.duration']).toEqual([]);
    expect(ofTwo.snapshot(1_000)['db.client.operation.duration']).toMatchObject([{ count: 1 }]);
    for (const each of [ofOne, ofTwo]) expect(each.snapshot(1_000)['plimsoll.task.duration']).toEqual([]);
  });

  test('statements that differ without end fill no memory', () => {
    const scope = {};
    const telemetry = telemetryOf(scope);
    for (let length = 1; length <= 700; length += 1) statement(scope, `select ${length}`);
    statement(scope, `insert into big values ${'($1, $2), '.repeat(50_000)}`);
    const series = telemetry.snapshot(1_000)['db.client.operation.duration'];
    expect(series).toHaveLength(501);
    expect(series.find((each) => each.server === '(other)')?.count).toBe(201);
  });

  test('one statement of any length is kept by its beginning', () => {
    const scope = {};
    const telemetry = telemetryOf(scope);
    const beginning = 'insert into big values ';
    for (const rows of [50_000, 50_001]) statement(scope, `${beginning}${'($1, $2), '.repeat(rows)}`);
    const series = telemetry.snapshot(1_000)['db.client.operation.duration'];
    expect(series).toHaveLength(1);
    expect(series[0]).toMatchObject({ count: 2, server: 'primary' });
    expect(series[0]?.['db.query.text'].startsWith(beginning)).toBe(true);
    expect(series[0]?.['db.query.text'].length).toBeLessThanOrEqual(2_001);
  });

  test('stop unsubscribes everything and leaves no timer, twice if need be', () => {
    const all = Object.values(channels);
    expect(all).toHaveLength(16);
    vi.useFakeTimers();
    stops.push(() => void vi.useRealTimers());
    const telemetry = createTelemetry({});
    const stopLogs = logChannels(
      {},
      createLogger({ name: 'x', level: 'silent', destination: { write: () => undefined } }),
    );
    expect(all.map(({ hasSubscribers }) => hasSubscribers)).toEqual(all.map(() => true));
    expect(vi.getTimerCount()).toBe(1);
    void telemetry.stop();
    stopLogs();
    void telemetry.stop();
    stopLogs();
    expect(all.map(({ hasSubscribers }) => hasSubscribers)).toEqual(all.map(() => false));
    expect(vi.getTimerCount()).toBe(0);
  });

  test('after stop nothing is counted', () => {
    const scope = {};
    const telemetry = telemetryOf(scope);
    request(scope);
    void telemetry.stop();
    request(scope);
    expect(telemetry.snapshot(1_000)['http.server.request.duration']).toMatchObject([{ count: 1 }]);
  });
});

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly [key: string]: unknown;
}
const levels = { debug: 20, info: 30, warn: 40, error: 50 };

/** The lines that a scope's messages make, parsed. */
function linesOf(scope: object, level = 'debug'): () => Line[] {
  let written = '';
  const logger = createLogger({
    name: 'shop',
    level,
    destination: {
      write: (line: string) => {
        written += line;
      },
    },
  });
  stops.push(logChannels(scope, logger));
  return () =>
    written
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line);
}

describe('logs', () => {
  test('one JSON line each, tied together by the correlation id', () => {
    const scope = {};
    const lines = linesOf(scope);
    request(scope, { durationMs: 5.12345 });
    operation(scope);
    task(scope);
    expect(lines()).toMatchObject([
      {
        level: levels.info,
        msg: 'request',
        correlationId,
        method: 'GET',
        route: '/orders/:id',
        status: 200,
        durationMs: 5.12,
      },
      {
        level: levels.debug,
        msg: 'operation',
        correlationId,
        operation: 'orders.byId',
        outcome: 'ok',
        durationMs: 4,
      },
      {
        level: levels.info,
        msg: 'task',
        correlationId,
        task: 'orders.ship',
        outcome: 'done',
        attempt: 1,
        lagMs: 20,
      },
    ]);
    for (const line of lines()) expect(line).toMatchObject({ name: 'shop', pid: process.pid });
  });

  test.each([
    [200, levels.info],
    [404, levels.info],
    [499, levels.info],
    [500, levels.error],
    [503, levels.warn],
    [504, levels.error],
  ])('a request with status %i has level %i', (status, level) => {
    const scope = {};
    const lines = linesOf(scope);
    request(scope, { status });
    expect(lines()).toMatchObject([{ level, status }]);
  });

  test.each([
    ['done', levels.info],
    ['retry', levels.warn],
    ['lost', levels.warn],
    ['parked', levels.error],
  ] as const)('a task that ends as %s has level %i', (outcome, level) => {
    const scope = {};
    const lines = linesOf(scope);
    task(scope, { outcome });
    expect(lines()).toMatchObject([{ level, outcome }]);
  });

  test('a failure is logged whole: message, code, stack and cause', () => {
    const scope = {};
    const lines = linesOf(scope);
    const cause = new Error('relation "card_number" does not exist');
    const error = new PlimsollError('PL_DATABASE_UNAVAILABLE', 'primary: gone', { cause });
    request(scope, { status: 503, error });
    task(scope, { outcome: 'parked', error });
    channels.background.publish({ scope, what: 'relay', error });
    expect(lines()).toHaveLength(3);
    for (const line of lines()) {
      expect(line).toMatchObject({
        err: { code: 'PL_DATABASE_UNAVAILABLE', message: expect.stringContaining('primary: gone') as string },
      });
      expect((line['err'] as { stack: string }).stack).toContain('card_number');
    }
    expect(lines()[2]).toMatchObject({ level: levels.error, msg: 'background', what: 'relay' });
  });

  test('lines below the level are not written, and another app writes none at all', () => {
    const scope = {};
    const lines = linesOf(scope, 'info');
    operation(scope);
    request({});
    task({});
    channels.background.publish({ scope: {}, what: 'relay', error: new Error('no') });
    expect(lines()).toEqual([]);
    request(scope);
    expect(lines()).toHaveLength(1);
  });

  test('what the page shows', () => {
    const scope = {};
    const seen: string[] = [];
    const destination = { write: (line: string): void => void seen.push(line) };
    // #region logs
    const logger = createLogger({ name: 'shop', level: 'info', destination });
    const stopLogs = logChannels(scope, logger);
    // #endregion
    request(scope);
    stopLogs();
    request(scope);
    expect(seen).toHaveLength(1);
  });
});
