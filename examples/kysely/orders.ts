// Typed Kysely queries inside a module: one transaction with the event, reads on a replica.
import type { Generated } from 'kysely';
import { command, contract, event, module, plan, query, route, type Plan } from 'plimsoll';
import { kysely } from 'plimsoll/kysely';
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
interface Tables {
  'orders.orders': {
    id: Generated<number>; // bigint: a number, as our pools read it
    sku: string;
    quantity: number;
    price: string; // numeric: a string, so that no digit is lost
  };
}
// #endregion

// #region handlers
const ordersModule = module(orders, {
  owns: { schema: 'orders', migrations: new URL('./migrations/', import.meta.url) },
  commands: {
    async place({ sku, quantity }, { tx, emit }) {
      const { id } = await kysely<Tables>(tx)
        .insertInto('orders.orders')
        .values({ sku, quantity, price: '9.90' })
        .returning('id')
        .executeTakeFirstOrThrow();
      emit(orders.placed, { orderId: id }); // commits with the insert, or not at all
      return { orderId: id };
    },
  },
  queries: {
    bySku: ({ sku }, { db }) =>
      kysely<Tables>(db)
        .selectFrom('orders.orders')
        .select(['id', 'quantity', 'price'])
        .where('sku', '=', sku)
        .orderBy('id')
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
