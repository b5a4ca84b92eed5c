import { afterEach, describe, expect, test } from 'vitest';
import * as channels from '../kernel/channels.ts';
import { createContext, enterOperation, runInContext } from '../kernel/context.ts';
import { rootSpan } from '../kernel/trace.ts';
import { traceparent } from './sampling.ts';
import { recordSpans, type SpanOptions, type SpanRecorder } from './spans.ts';

const recorders: SpanRecorder[] = [];
afterEach(() => {
  for (const recorder of recorders.splice(0)) recorder.stop();
});

function recorded(scope: object, options: SpanOptions = { sampleRatio: 1 }): SpanRecorder {
  const recorder = recordSpans(scope, options);
  recorders.push(recorder);
  return recorder;
}

/** What the runtime publishes for one request with one operation and one statement. */
function serve(scope: object, durationMs = 5, correlationId?: string, header?: string): void {
  const given = correlationId === undefined ? {} : { correlationId };
  const context = createContext({
    ...given,
    ...(header === undefined ? {} : { caller: { traceparent: header } }),
  });
  const inner = enterOperation(context, 'orders.place', undefined);
  const { correlationId: id } = context;
  runInContext(inner, () => {
    channels.poolWaits.publish({ scope, server: 'primary', waitMs: 3, inUse: 1, max: 1, waiting: 1 });
    channels.poolWaits.publish({ scope, server: 'primary', waitMs: 0.1, inUse: 1, max: 1, waiting: 0 });
    channels.queries.publish({
      scope,
      server: 'primary',
      text: 'select $1',
      durationMs: 1,
      rows: 1,
      operation: 'orders.place',
      route: 'token',
    });
  });
  channels.operations.publish({
    scope,
    operation: 'orders.place',
    kind: 'command',
    outcome: 'ok',
    durationMs: durationMs - 1,
    span: inner.span,
  });
  channels.httpRequests.publish({
    scope,
    method: 'POST',
    route: '/orders',
    operation: 'orders.place',
    status: 201,
    durationMs,
    correlationId: id,
    span: context.span,
  });
}

describe('spans', () => {
  test('a request, its operation, its statement and its long wait are one tree', () => {
    const scope = {};
    const recorder = recorded(scope);
    serve(scope, 5, '12345678-1234-4234-8234-123456789abc');
    const spans = recorder.recent();
    const [wait, statement, operation, request] = spans;
    expect(spans.map(({ name }) => name)).toEqual([
      'wait for primary',
      'SELECT',
      'orders.place',
      'POST /orders',
    ]);
    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(
      new Set(['12345678123442348234123456789abc']),
    );
    expect(new Set(spans.map(({ spanId }) => spanId)).size).toBe(4);
    expect(request!.parentSpanId).toBeUndefined();
    expect(operation!.parentSpanId).toBe(request!.spanId);
    expect(statement!.parentSpanId).toBe(operation!.spanId);
    expect(wait!.parentSpanId).toBe(operation!.spanId);
    expect(statement!.attributes).toMatchObject({ 'plimsoll.route.reason': 'token' });
    expect(Math.abs(request!.startMs + 5 - Date.now())).toBeLessThan(60_000);
  });

  test('the caller outside decides about its trace and is the parent', () => {
    const scope = {};
    const recorder = recorded(scope, { sampleRatio: 0 });
    const [trace, parent] = ['c'.repeat(32), 'd'.repeat(16)];
    serve(scope, 5, 'mine', `00-${trace}-${parent}-01`);
    expect(recorder.recent()).toHaveLength(4);
    expect(recorder.recent().at(-1)).toMatchObject({ traceId: trace, parentSpanId: parent });
    const other = recorded(scope, { sampleRatio: 1 });
    serve(scope, 5, 'mine', `00-${trace}-${parent}-00`);
    expect(other.recent()).toEqual([]);
  });

  test('the ratio holds, whole traces at a time, and every process decides alike', () => {
    const scope = {};
    const [one, two] = [recorded(scope, { sampleRatio: 0.25 }), recorded(scope, { sampleRatio: 0.25 })];
    const total = 2_000;
    let decided = 0;
    for (let at = 0; at < total; at += 1) {
      const id = `request-${at}`;
      serve(scope, 5, id);
      const context = createContext({ correlationId: id });
      if (runInContext(context, traceparent)?.endsWith('-01') === true) decided += 1;
    }
    expect(one.recorded % 4).toBe(0);
    expect(one.recorded / 4).toBe(decided);
    expect(two.recorded).toBe(one.recorded);
    // Seven standard deviations: the ids are fixed, so this cannot flicker.
    expect(Math.abs(decided / total - 0.25)).toBeLessThan(0.07);
  });

  test('what is not sampled gets no ids', () => {
    const scope = {};
    const recorder = recorded(scope, { sampleRatio: 0 });
    const span = rootSpan('c');
    const message = { scope, kind: 'query', outcome: 'ok', durationMs: 1 } as const;
    channels.operations.publish({ ...message, operation: 'a.b', span });
    expect(recorder.recorded).toBe(0);
    expect(span.id).toBeUndefined();
    expect(span.root.sampled).toBe(false);
  });

  test('a slow request is kept whether it was sampled or not, with its spans where it was', () => {
    const scope = {};
    const [all, none] = [recorded(scope, { sampleRatio: 1, slowMs: 100 }), recorded({}, {})];
    serve(scope, 99.9, 'fast');
    serve(scope, 100, 'slow');
    expect(all.slow()).toMatchObject([{ sampled: true, request: { name: 'POST /orders', durationMs: 100 } }]);
    expect(all.slow()[0]!.spans).toHaveLength(4);
    all.stop();
    const unsampled = recorded(scope, { sampleRatio: 0, slowMs: 100 });
    serve(scope, 250, 'slow too');
    expect(unsampled.slow()).toMatchObject([{ sampled: false, spans: [], request: { durationMs: 250 } }]);
    expect(unsampled.recent()).toEqual([]);
    expect(none.slow()).toEqual([]);
  });

  test('the rings keep the newest and no more', () => {
    const scope = {};
    const recorder = recorded(scope, { sampleRatio: 1, slowMs: 0 });
    for (let at = 0; at < 700; at += 1) serve(scope, at + 1, `c-${at}`);
    expect(recorder.recorded).toBe(2_800);
    expect(recorder.recent()).toHaveLength(2_000);
    expect(recorder.recent().at(-1)).toMatchObject({ durationMs: 700 });
    const slow = recorder.slow().map(({ request }) => request.durationMs);
    expect(slow).toEqual(Array.from({ length: 50 }, (_, index) => 651 + index));
  });

  test('only server errors mark the span of a request as failed', () => {
    const scope = {};
    const recorder = recorded(scope);
    const base = {
      scope,
      method: 'GET',
      route: '/x',
      operation: undefined,
      durationMs: 1,
      correlationId: 'c',
    };
    channels.httpRequests.publish({ ...base, status: 404 });
    channels.httpRequests.publish({ ...base, status: 503, error: new Error('gone') });
    expect(recorder.recent().map(({ error }) => error)).toEqual([undefined, 'Error: gone']);
  });
});

describe('the traceparent for calls outside', () => {
  test('names the running operation, and nothing where nothing runs', () => {
    const scope = {};
    const recorder = recorded(scope);
    expect(traceparent()).toBeUndefined();
    const inner = enterOperation(createContext(), 'orders.place', undefined);
    // #region traceparent
    const header = runInContext(inner, () => traceparent());
    // #endregion
    const message = { scope, kind: 'query', outcome: 'ok', durationMs: 1 } as const;
    channels.operations.publish({ ...message, operation: 'orders.place', span: inner.span });
    const [span] = recorder.recent();
    expect(header).toBe(`00-${span!.traceId}-${span!.spanId}-01`);
  });
});
