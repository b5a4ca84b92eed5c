import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { sql } from '../database/sql.ts';
import { command, contract, event } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { route } from '../gateway/route.ts';
import { untilIdle } from '../testing/until-idle.ts';
import { createApp, type App } from './app.ts';
import { plan } from './plan.ts';

const shop = contract('shop', {
  order: command({ input: z.object({}) }),
  note: command({ input: z.object({}) }),
  ordered: event({ payload: z.object({ again: z.boolean() }) }),
  noted: event({ payload: z.object({}) }),
});

/** Set while the subscription must not end. */
let held: Promise<void> | undefined;

const shopModule = module(shop, {
  owns: { schema: 'shop' },
  commands: {
    async order(_input, { emit }) {
      emit(shop.ordered, { again: true });
    },
    async note(_input, { emit }) {
      emit(shop.noted, {});
    },
  },
  on: (on) => [
    on(shop.ordered, { name: 'pack' }, async ({ again }, { emit }) => {
      await held;
      // What drains may emit what outside requests may not.
      if (again) emit(shop.ordered, { again: false });
    }),
  ],
});

let server: TestDatabase;
let app: App;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'behind-test',
      modules: [shopModule],
      http: { port: 0, routes: [route('/orders', shop.order), route('/notes', shop.note)] },
      events: { budget: { backlog: 5 } },
      worker: { pollMs: 20 },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: server.url },
  );
  await app.start();
});
afterAll(async () => {
  await app.stop();
  await server.drop();
});

const post = (path: string): Promise<Response> =>
  fetch(`${app.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });

test('over its budget a request that would add to it is refused, others and those who drain go on', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  held = promise;
  await expect.poll(async () => (await post('/orders')).status, { timeout: 20_000, interval: 50 }).toBe(503);
  const refused = await post('/orders');
  expect(refused.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
  expect(await refused.json()).toMatchObject({ code: 'PL_EVENTS_BEHIND' });
  expect((await post('/notes')).status).toBe(204);

  const { events } = await app.telemetry();
  const { backlog, parked } = events.subscriptions.find(({ name }) => name === 'shop.pack')!;
  expect({ over: backlog > 5, parked }).toEqual({ over: true, parked: 0 });
  expect(await app.metrics()).toMatch(
    /plimsoll_subscription_backlog\S*\{.*subscription="shop\.pack".*\} [1-9]/,
  );

  resolve();
  held = undefined;
  await untilIdle(app);
  await expect.poll(async () => (await post('/orders')).status, { timeout: 20_000, interval: 50 }).toBe(204);
  await untilIdle(app);
  const { outside, inside } = await app.database.one<{ outside: number; inside: number }>(sql`
    select count(*) filter (where causation_id is null)::int as outside, count(*) filter (where causation_id like 'event:%')::int as inside
    from plimsoll.event where type = 'shop.ordered'`);
  expect(inside).toBe(outside);
});
