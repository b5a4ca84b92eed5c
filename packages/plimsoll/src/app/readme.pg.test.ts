// What the README shows, executed.
import { command, contract, createApp, event, module, plan, route, sql } from 'plimsoll';
import { z } from 'zod';

const orders = contract('orders', {
  place: command({ input: z.object({ sku: z.string() }), output: z.object({ id: z.number() }) }),
  placed: event({ payload: z.object({ id: z.number() }) }),
});
// #region example
const ordersModule = module(orders, {
  owns: { schema: 'orders', migrations: new URL('./readme-migrations/', import.meta.url) },
  commands: {
    async place({ sku }, { tx, emit }) {
      const order = await tx.one<{ id: number }>(
        sql`insert into orders.orders (sku) values (${sku}) returning id`,
      );
      emit(orders.placed, order); // exists exactly when this transaction commits
      return order;
    },
  },
  on: (on) => [
    on(orders.placed, { name: 'welcome' }, async ({ id }, { tx }) => {
      await tx.execute(sql`insert into orders.welcomed values (${id})`); // once, whatever crashes
    }),
  ],
});
// #endregion
const shop = plan({
  name: 'shop',
  modules: [ordersModule],
  http: { port: 0, routes: [route('/orders', orders.place, { status: 201 })] },
  expectedPeak: { requestsPerSecond: 100 },
  objectives: { default: { p95Ms: 100, errorRate: 0.001 } },
});
import { createTestDatabase } from '@plimsoll/embedded';
import { expect, inject, test } from 'vitest';
import { untilIdle } from 'plimsoll/testing';

test('the example of the README works', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const app = createApp(shop, { databaseUrl: server.url });
  try {
    await app.start();
    const response = await fetch(`${app.url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"sku":"lantern"}',
    });
    expect([response.status, await response.json()]).toEqual([201, { id: 1 }]);
    await untilIdle(app);
    expect(await app.database.query(sql`select * from orders.welcomed`)).toEqual([{ id: 1 }]);
  } finally {
    await app.stop();
    await server.drop();
  }
});
