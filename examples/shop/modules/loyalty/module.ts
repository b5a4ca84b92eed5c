import { module, sql } from 'plimsoll';
import { orders } from '../orders/contract.ts';
import { loyalty } from './contract.ts';

const pencePerPoint = 100;

export const loyaltyModule = module(loyalty, {
  owns: { schema: 'loyalty', migrations: new URL('./migrations/', import.meta.url) },
  uses: [orders],
  queries: {
    async standing({ customerId }, { db }) {
      const row = await db.maybeOne<{ spentPence: number }>(
        sql`select spent_pence as "spentPence" from loyalty.standings where customer_id = ${customerId}`,
      );
      const spentPence = row?.spentPence ?? 0;
      return { customerId, spentPence, points: Math.floor(spentPence / pencePerPoint) };
    },
  },
  on: (on) => [
    on(orders.paid, { name: 'add-spending' }, async ({ customerId, pence }, { tx }) => {
      if (customerId === null) return;
      // Adding is safe to write: the delivery has its effect once.
      await tx.execute(sql`
        insert into loyalty.standings (customer_id, spent_pence) values (${customerId}, ${pence})
        on conflict (customer_id) do update set spent_pence = standings.spent_pence + excluded.spent_pence`);
    }),
  ],
});
