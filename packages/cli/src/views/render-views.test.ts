import { expect, test } from 'vitest';
import type { ViewStatus } from 'plimsoll/views';
import { renderProgress, renderViews, spanText } from './render-views.ts';

const status = (more: Partial<ViewStatus>): ViewStatus => ({
  schema: 'orders',
  name: 'summary',
  table: 'summary_v1',
  version: 1,
  state: 'live',
  position: 1_234_567,
  failure: null,
  head: 1_234_567,
  behind: 0,
  behindSeconds: 0,
  madeAt: new Date(0),
  switchedAt: null,
  built: null,
  ...more,
});

test('the list shows each table, and why one is stuck', () => {
  const failure = { message: 'no such article', position: 12, at: '2026-01-01T00:00:00Z' };
  const text = renderViews([
    status({}),
    status({
      version: 2,
      table: 'summary_v2',
      state: 'building',
      position: 12,
      behind: 1_234_555,
      behindSeconds: 7_200,
      built: { events: 12, eventsPerSecond: 6 },
      failure,
    }),
    status({ version: 0, state: 'retired', table: 'summary_v0' }),
  ]);
  expect(text.split('\n')).toEqual([
    'view            version  state            position   behind  lag    table',
    'orders.summary        1  live              1234567        0  0.0 s  summary_v1',
    'orders.summary        2  building, stuck        12  1234555  2 h    summary_v2',
    'orders.summary        0  retired                                    summary_v0',
    'orders.summary version 2: 12 of 1,234,567 events (0 %), 6/s, 57 h left',
    'orders.summary version 2 cannot apply the event after position 12: no such article',
  ]);
  expect(renderViews([])).toBe('no view has a table yet');
});

test('the progress of a build tells how far, how fast and how long still', () => {
  expect(renderProgress('orders.summary', { done: 250_000, total: 1_000_000, eventsPerSecond: 50_000 })).toBe(
    'orders.summary: 250,000 of 1,000,000 events (25 %), 50,000/s, 15 s left',
  );
  expect(renderProgress('a.b', { done: 0, total: 0, eventsPerSecond: 0 })).toBe(
    'a.b: 0 of 0 events (100 %), 0/s, ? left',
  );
  expect([0.05, 12.4, 90, 5_400].map(spanText)).toEqual(['0.1 s', '12 s', '2 min', '1.5 h']);
});
