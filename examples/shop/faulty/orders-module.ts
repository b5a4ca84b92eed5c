import { sql, type Module } from 'plimsoll';
import type { Queryable } from 'plimsoll/database';
import { ordersModule } from '../modules/orders/module.ts';

interface Head {
  readonly orderId: number;
  readonly status: string;
  readonly placedAt: Date;
}

/**
 * The orders module as it is often first written: the list of a customer's orders asks for the total of each
 * order by a statement of its own. The answers are the same as those of the module it stands in for.
 */
export const faultyOrdersModule: Module = {
  ...ordersModule,
  queries: {
    ...ordersModule.queries,
    async byCustomer(input, context) {
      const { customerId, limit } = input as { customerId: number; limit: number };
      const { db } = context as { db: Queryable };
      const heads = await db.query<Head>(sql`
        select id as "orderId", status, placed_at as "placedAt" from orders.orders
        where customer_id = ${customerId} order by placed_at desc, id desc limit ${limit}`);
      const summaries: object[] = [];
      for (const head of heads) {
        const { pence } = await db.one<{ pence: number }>(sql`
          select coalesce(sum(quantity * pence), 0)::bigint as pence from orders.lines
          where order_id = ${head.orderId}`);
        summaries.push({ ...head, placedAt: head.placedAt.toISOString(), pence });
      }
      return summaries;
    },
  },
};
