import { module, sql } from 'plimsoll';
import { shipping } from './contract.ts';

export const shippingModule = module(shipping, {
  owns: { schema: 'shipping', migrations: new URL('./migrations/', import.meta.url) },
  commands: {
    async ship({ orderId, country }, { tx }) {
      // Made from the order, so that asking again gives the same.
      const tracking = `PL${String(orderId).padStart(10, '0')}`;
      await tx.execute(sql`
        insert into shipping.shipments (order_id, country, tracking)
        values (${orderId}, ${country}, ${tracking}) on conflict do nothing`);
      return { tracking };
    },
  },
});
