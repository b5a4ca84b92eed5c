import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { createApp, sql } from 'plimsoll';
import ordersPlan from './orders.ts';

test('an order is placed over HTTP with its event, and read from the replica', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const app = createApp(ordersPlan, { databaseUrl: server.url, replicaUrls: server.replicaUrls });
  try {
    await app.start();
    const placed = await fetch(`${app.url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sku: `'; drop schema orders cascade; --`, quantity: 2 }),
    });
    expect(placed.status).toBe(201);
    const { orderId } = (await placed.json()) as { orderId: number };
    const sku = encodeURIComponent(`'; drop schema orders cascade; --`);
    const read = async (): Promise<unknown> => (await fetch(`${app.url}/orders/${sku}`)).json();
    await expect.poll(read).toEqual([{ id: orderId, quantity: 2, price: '9.90' }]);
    const events = sql`select payload from plimsoll.event where type = 'orders.placed'`;
    await expect.poll(() => app.database.query(events)).toEqual([{ payload: { orderId } }]);
  } finally {
    await app.stop();
    await server.drop();
  }
});
