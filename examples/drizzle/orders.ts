// Typed Drizzle queries inside a module: one transaction with the event, reads on a replica.
import { eq } from 'drizzle-orm';
import { bigserial, integer, numeric, pgSchema, text } from 'drizzle-orm/pg-core';
import { command, contract, event, module, plan, query, route, type Plan } from 'plimsoll';
import { drizzleOn } from 'plimsoll/drizzle';
import { z } from 'zod';

export const orders = contract('orders', {
  place: command({
    input: z.object({ sku: z.string(), quantity: z.number().int().positive() }),
    output: z.object({ orderId: z.number() }),
  }),
  bySku: query({
    input: z.object({ sku: z.string() }),
    output: z.array(z.object({ id: z.number(), quantity: z.number(), price: z.string() })),
  }),
  placed: event({ payload: z.object({ orderId: z.number() }) }),
});

// #region tables
const table = pgSchema('orders').table('orders', {
  id: bigserial('id', { mode: 'number' }).primaryKey(),
  sku: text('sku').notNull(),
  quantity: integer('quantity').notNull(),
  price: numeric('price', { precision: 12, scale: 2 }).notNull(),
});
// #endregion

// #region handlers
const ordersModule = module(orders, {
  owns: { schema: 'orders', migrations: new URL('./migrations/', import.meta.url) },
  commands: {
    async place({ sku, quantity }, { tx, emit }) {
      const [row] = await drizzleOn(tx)
        .insert(table)
        .values({ sku, quantity, price: '9.90' })
        .returning({ id: table.id });
      if (row === undefined) throw new Error('insert returned no row');
      emit(orders.placed, { orderId: row.id }); // commits with the insert, or not at all
      return { orderId: row.id };
    },
  },
  queries: {
    bySku: ({ sku }, { db }) =>
      drizzleOn(db)
        .select({ id: table.id, quantity: table.quantity, price: table.price })
        .from(table)
        .where(eq(table.sku, sku))
        .orderBy(table.id)
        .limit(100)
        .execute(),
  },
});
// #endregion

const ordersPlan: Plan = plan({
  name: 'orders',
  modules: [ordersModule],
  http: {
    port: 0,
    routes: [route('/orders', orders.place, { status: 201 }), route('/orders/:sku', orders.bySku)],
  },
  expectedPeak: { requestsPerSecond: 50 },
  objectives: { default: { p95Ms: 200, errorRate: 0.01 } },
});
export default ordersPlan;
