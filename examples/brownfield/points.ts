// A new module: it reacts to orders of the old code, which it does not know.
import { contract, event, module, query, sql } from 'plimsoll';
import { z } from 'zod';

// #region old-code
/** What the old code tells. It has no commands, because the old code is called by its routes. */
export const shop = contract('shop', {
  ordered: event({ payload: z.object({ customerId: z.number(), total: z.number() }) }),
});
/** Implements nothing: it says whose the event and the old tables are. */
export const shopModule = module(shop, {
  owns: { tables: ['public.customers', 'public.orders', 'public.order_lines'] },
});
// #endregion

export const points = contract('points', {
  of: query({ input: z.object({ customerId: z.coerce.number() }), output: z.object({ points: z.number() }) }),
});

// #region reaction
export const pointsModule = module(points, {
  owns: { schema: 'points', migrations: new URL('./migrations/', import.meta.url) },
  uses: [shop],
  queries: {
    of: async ({ customerId }, { db }) =>
      (await db.maybeOne<{ points: number }>(
        sql`select points from points.balance where customer_id = ${customerId}`,
      )) ?? { points: 0 },
  },
  on: (on) => [
    on(shop.ordered, { name: 'earn' }, async ({ customerId, total }, { tx }) => {
      await tx.execute(sql`
        insert into points.balance (customer_id, points) values (${customerId}, ${total})
        on conflict (customer_id) do update set points = balance.points + excluded.points`);
    }),
  ],
});
// #endregion
