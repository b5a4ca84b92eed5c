import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createApp, type App } from '../app/app.ts';
import { plan } from '../app/plan.ts';
import { sql } from '../database/sql.ts';
import { cancelTask } from '../durable/cancel.ts';
import { insertTasks } from '../durable/task.ts';
import { newJob } from '../jobs/job.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { command, contract, event } from '../modules/contract.ts';
import { module } from '../modules/module.ts';
import { insertEvents } from './events.ts';
import { newEvent } from './new-event.ts';
import { parkedDeliveries, retryParked, skipParked } from './parked.ts';
import { replayOnce, startReplay } from './replay.ts';
import { trace, type TraceSource } from './trace.ts';
import type { TraceNode } from './trace-tree.ts';

const order = z.object({ orderId: z.string() });
const orders = contract('orders', {
  place: command({ input: order }),
  placed: event({ payload: order, key: ({ orderId }) => orderId }),
});
const shipping = contract('shipping', {
  label: command({ input: order }),
  shipped: event({ payload: order, key: ({ orderId }) => orderId }),
});

/** What the subscription `shipping.ship` does instead, while it is set. */
let broken: string | undefined;

const modules = [
  module(orders, {
    owns: { schema: 'orders' },
    uses: [shipping],
    commands: {
      async place(input, { emit }) {
        emit(orders.placed, input);
      },
    },
    on: (on) => [on(shipping.shipped, { name: 'close' }, async () => undefined)],
  }),
  module(shipping, {
    owns: { schema: 'shipping' },
    uses: [orders],
    commands: { async label() {} },
    on: (on) => [
      on(orders.placed, { name: 'ship', maxAttempts: 1 }, async ({ orderId }, { emit, enqueue }) => {
        if (broken !== undefined) throw new Error(broken);
        emit(shipping.shipped, { orderId });
        enqueue(shipping.label, { orderId }, { delayMs: 3_600_000 });
      }),
      on(orders.placed, { name: 'count' }, async () => undefined),
    ],
  }),
];

let server: TestDatabase;
let app: App;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'trace-test',
      modules,
      worker: { pollMs: 20 },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
    }),
    { databaseUrl: server.url, listen: false },
  );
  await app.start();
});
afterAll(async () => {
  await app.stop();
  await server.drop();
});
beforeEach(() => {
  broken = undefined;
});

const settled = async (): Promise<void> => {
  const left = sql`select (select count(*) from plimsoll.outbox) + (select count(*) from plimsoll.task where state in ('ready', 'running') and run_at <= now()) as n`;
  await expect.poll(() => app.database.one(left), { timeout: 10_000 }).toEqual({ n: 0 });
};
const place = async (orderId: string): Promise<void> => {
  const context = createContext({ correlationId: `request-${orderId}`, caller: { principal: 'ada' } });
  await runInContext(context, () => app.call(orders.place, { orderId }));
  await settled();
};
/** `kind name state` of each, indented by what set it off. */
const shape = (nodes: readonly TraceNode[], indent = ''): string[] =>
  nodes.flatMap(({ kind, name, state, effects }) => [
    `${indent}${kind} ${name} ${state}`,
    ...shape(effects, `${indent}  `),
  ]);

test('everything that an order set off, each under its cause', async () => {
  await place('42');
  const expected = [
    'request request-42 done',
    '  event orders.placed logged',
    '    delivery shipping.count done',
    '    delivery shipping.ship done',
    '      event shipping.shipped logged',
    '        delivery orders.close done',
    '      job shipping.label scheduled',
  ];
  const byKey = await trace(app.database, { key: '42' });
  expect(shape(byKey).toSorted()).toEqual(expected.toSorted());
  expect(byKey[0]!.effects[0]).toMatchObject({ data: { key: '42', by: 'orders.place', principal: 'ada' } });
  expect(await trace(app.database, { correlationId: 'request-42' })).toEqual(byKey);
  expect(await trace(app.database, { key: '42', type: 'shipping.shipped' })).toEqual(byKey);
  expect(await trace(app.database, { key: 'nobody' })).toEqual([]);
});

test('a job that has ended is there when it left a receipt; another by what it set off, named by that', async () => {
  const context = createContext({ correlationId: 'request-46', caller: { principal: 'ada' } });
  const [kept, cancelled, silent] = [crypto.randomUUID(), crypto.randomUUID(), crypto.randomUUID()];
  const job = (id: string, options: object = {}) =>
    newJob(context, { id, name: shipping.label.id, input: { orderId: '46' }, ...options });
  await app.database.execute(
    insertTasks([
      job(kept, { keepResult: true }),
      job(cancelled, { keepResult: true, delayMs: 3_600_000 }),
      job(silent),
    ]),
  );
  await app.database.query(cancelTask(cancelled, 'not needed'));
  const causationId = `job:${silent}`;
  await app.database.execute(
    insertEvents([
      {
        ...newEvent(context, shipping.shipped, { orderId: '46' }),
        causationId,
        operation: shipping.label.id,
      },
    ]),
  );
  await settled();
  const [root] = await trace(app.database, { correlationId: 'request-46' });
  expect(
    root!.effects
      .map(({ id, name, state, data }) => ({ id, name, state, data }))
      .toSorted((a, b) => a.state.localeCompare(b.state) || a.id.localeCompare(b.id)),
  ).toEqual([
    { id: `job:${cancelled}`, name: 'shipping.label', state: 'cancelled', data: { reason: 'not needed' } },
    ...[kept, silent]
      .toSorted()
      .map((id) => ({ id: `job:${id}`, name: 'shipping.label', state: 'done', data: {} })),
  ]);
  expect(root!.effects.find(({ id }) => id === causationId)!.effects).toMatchObject([
    { name: 'shipping.shipped' },
  ]);
});

test('a parked delivery is shown with its error; tried again it has its effect', async () => {
  broken = 'the label printer is out of paper';
  await place('43');
  expect(shape(await trace(app.database, { key: '43' }))).toContain('    delivery shipping.ship parked');
  const parked = await parkedDeliveries(app.database, { key: '43' }, 10);
  expect(parked).toMatchObject([
    { subscription: 'shipping.ship', key: '43', attempts: 1, error: broken, correlationId: 'request-43' },
  ]);
  broken = undefined;
  expect(await retryParked(app.database, { id: parked[0]!.id })).toBe(1);
  await settled();
  expect(shape(await trace(app.database, { key: '43' }))).toContain('      event shipping.shipped logged');
});

test('a skipped delivery says who skipped it and why; it is not delivered again, unless by a replay', async () => {
  broken = 'no such address';
  await place('44');
  const decision = { by: 'grace', why: 'the order was a test' };
  expect(await skipParked(app.database, { subscription: 'shipping.ship', key: '44' }, decision)).toBe(1);
  expect(await parkedDeliveries(app.database, {}, 10)).toEqual([]);
  const delivery = async (): Promise<TraceNode[]> =>
    (await trace(app.database, { key: '44' }))[0]!.effects[0]!.effects.filter(
      ({ name }) => name === 'shipping.ship',
    );
  expect(await delivery()).toMatchObject([{ state: 'skipped', data: { ...decision, error: broken } }]);
  broken = undefined;
  const { id } = await startReplay(app.database, {
    subscription: 'shipping.ship',
    filter: { key: '44' },
    by: 'grace',
    why: 'it was not a test',
  });
  await replayOnce(app.database, id);
  await settled();
  expect(await delivery()).toMatchObject([{ state: 'skipped' }, { state: 'done', data: { replay: id } }]);
  expect((await delivery())[1]!.effects.map(({ name }) => name).toSorted()).toEqual([
    'shipping.label',
    'shipping.shipped',
  ]);
});

test('other parts add what they know', async () => {
  await place('45');
  const source: TraceSource = (_db, [correlationId = '']) =>
    Promise.resolve([
      {
        id: 'saga:7/charge',
        cause: `request:${correlationId}`,
        kind: 'step',
        name: 'charge',
        state: 'done',
        at: '2026-01-01T00:00:00.000Z',
        data: {},
        correlationId,
      },
    ]);
  const [root] = await trace(app.database, { key: '45' }, [source]);
  expect(root!.effects.map(({ name }) => name)).toEqual(['charge', 'orders.placed']);
});
