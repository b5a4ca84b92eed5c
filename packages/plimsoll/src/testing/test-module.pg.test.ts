import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { command, contract, event, module, query, sql } from '../index.ts';
import { fake } from './fake.ts';
import { scenario } from './scenario.ts';
import { testModule, type TestedModule } from './test-module.ts';

const inventory = contract('inventory', {
  reserve: command({
    input: z.object({ sku: z.string() }),
    output: z.object({ reservation: z.string() }),
    errors: { OutOfStock: z.object({ left: z.number() }) },
  }),
  stock: query({ input: z.object({ sku: z.string() }), output: z.object({ left: z.number() }) }),
  low: event({ payload: z.object({ sku: z.string() }) }),
});
const orders = contract('orders', {
  place: command({
    input: z.object({ sku: z.string() }),
    output: z.object({ orderId: z.number() }),
    errors: { SoldOut: z.object({}) },
  }),
  left: command({ input: z.object({ sku: z.string() }), output: z.number() }),
  confirm: command({ input: z.object({ orderId: z.number() }) }),
  placed: event({ payload: z.object({ orderId: z.number() }) }),
  confirmed: event({ payload: z.object({ orderId: z.number() }) }),
  paused: event({ payload: z.object({ sku: z.string() }), key: ({ sku }) => sku }),
});
const ordersModule = module(orders, {
  owns: { schema: 'orders', migrations: new URL('./fixtures/', import.meta.url) },
  uses: [inventory],
  commands: {
    async place({ sku }, { call, tx, emit, enqueue, fail }) {
      const reserved = await call(inventory.reserve, { sku });
      if (!reserved.ok) return fail('SoldOut', {});
      const { id } = await tx.one<{ id: number }>(
        sql`insert into orders.placed (sku, reservation) values (${sku}, ${reserved.value.reservation}) returning id`,
      );
      emit(orders.placed, { orderId: id });
      enqueue(orders.confirm, { orderId: id });
      return { orderId: id };
    },
    left: async ({ sku }, { call }) => (await call(inventory.stock, { sku })).left,
    confirm: ({ orderId }, { emit }) => Promise.resolve(emit(orders.confirmed, { orderId })),
  },
  on: (on) => [
    on(inventory.low, { name: 'pause' }, ({ sku }, { emit }) =>
      Promise.resolve(emit(orders.paused, { sku })),
    ),
  ],
});

let server: TestDatabase;
let app: TestedModule | undefined;
beforeEach(async () => {
  server = await createTestDatabase(inject('cluster'));
});
afterEach(async () => {
  await app?.stop();
  app = undefined;
  await server.drop();
});

test('a module alone: its own tables and events are real, what it uses is a typed fake', async () => {
  const database = server;
  // #region test-module
  const tested = await testModule(ordersModule, {
    uses: { inventory: fake(inventory, { reserve: async ({ sku }) => ({ reservation: `r-${sku}` }) }) },
    database,
  });
  // #endregion
  app = tested;
  // #region scenario
  const { results, events, emitted } = await scenario(tested).call(orders.place, { sku: 'mug' }).untilIdle();
  expect(results).toEqual([{ ok: true, value: { orderId: 1 } }]);
  expect(events.map(({ type }) => type)).toEqual(['orders.placed', 'orders.confirmed']);
  expect(emitted(orders.confirmed)).toEqual([{ orderId: 1 }]);
  // #endregion
  expect(await tested.database.query(sql`select sku, reservation from orders.placed`)).toEqual([
    { sku: 'mug', reservation: 'r-mug' },
  ]);
});

test('a scenario tells only what was emitted since, of calls one after the other, for its caller', async () => {
  app = await testModule(ordersModule, {
    uses: { inventory: fake(inventory, { reserve: async () => ({ reservation: 'r' }) }) },
    database: server,
  });
  await scenario(app).call(orders.place, { sku: 'a' }).untilIdle();
  const caller = { tenant: 'acme' };
  const { results, events, emitted } = await scenario(app, { caller })
    .call(orders.place, { sku: 'b' })
    .call(orders.place, { sku: 'c' })
    .untilIdle();
  expect(results.map((result) => result.ok && result.value.orderId)).toEqual([2, 3]);
  expect(emitted(orders.placed)).toEqual([{ orderId: 2 }, { orderId: 3 }]);
  expect(events).toHaveLength(4);
  expect(events.map((one) => one.caller)).toEqual(events.map(() => caller));
});

test('an event of a used contract reaches the subscription', async () => {
  app = await testModule(ordersModule, { uses: { inventory: fake(inventory) }, database: server });
  // #region publish
  await app.publish(inventory.low, { sku: 'mug' });
  const { emitted } = await scenario(app).untilIdle();
  // #endregion
  expect(emitted(orders.paused)).toEqual([{ sku: 'mug' }]);
  await expect(app.publish(inventory.low, { sku: 1 } as never)).rejects.toMatchObject({
    code: 'PL_PAYLOAD_INVALID',
  });
});

test('a fake fails as its contract declares, and keeps to the contract', async () => {
  app = await testModule(ordersModule, {
    uses: {
      inventory: fake(inventory, {
        reserve: async ({ sku }, { fail }) =>
          sku === 'none' ? fail('OutOfStock', { left: 0 }) : ({ reservation: 7 } as never),
      }),
    },
    database: server,
  });
  expect(await app.call(orders.place, { sku: 'none' })).toEqual({ ok: false, error: 'SoldOut', data: {} });
  await expect(app.call(orders.place, { sku: 'mug' })).rejects.toMatchObject({ code: 'PL_OUTPUT_INVALID' });
  await expect(app.call(inventory.reserve, { sku: 7 } as never)).rejects.toMatchObject({
    code: 'PL_INPUT_INVALID',
  });
});

test('an operation that the fake does not have says which and what to do', async () => {
  app = await testModule(ordersModule, { uses: { inventory: fake(inventory) }, database: server });
  await expect(app.call(orders.left, { sku: 'mug' })).rejects.toMatchObject({
    code: 'PL_UNKNOWN_OPERATION',
    message: 'the fake of inventory.stock has no handler; give one: fake(…, { stock: async (input) => … })',
  });
});

test('a missing fake, or one under another name, is told before anything starts', async () => {
  await expect(testModule(ordersModule, { database: server })).rejects.toMatchObject({
    code: 'PL_CONFIG',
    data: {
      problems: [{ path: 'uses.inventory', message: expect.stringContaining('is missing') as string }],
    },
  });
  await expect(
    testModule(ordersModule, {
      uses: { inventory: fake(inventory), stock: fake(inventory) },
      database: server,
    }),
  ).rejects.toMatchObject({ code: 'PL_CONFIG', data: { problems: [{ path: 'uses.stock' }] } });
});
