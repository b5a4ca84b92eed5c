import { module, sql } from 'plimsoll';
import { catalog } from '../catalog/contract.ts';
import { inventory } from '../inventory/contract.ts';
import { payments } from '../payments/contract.ts';
import { shipping } from '../shipping/contract.ts';
import { orders } from './contract.ts';
import { priceLines, skusOf } from './pricing.ts';
import { insertOrder, insertReturn, moveOrder, readByCustomer, readById } from './statements.ts';

/**
 * An order is placed in one transaction and then drives itself: each event of its own is one step, which asks
 * another module first and afterwards writes the new status in its own transaction.
 *
 *     placed → reserved → paid → shipped
 *        ↓         ↓
 *     rejected  declined
 *
 * A step that fails or crashes is delivered again; what it asks is idempotent by order, its effect is once.
 */
export const ordersModule = module(orders, {
  owns: { schema: 'orders', migrations: new URL('./migrations/', import.meta.url) },
  uses: [catalog, inventory, payments, shipping],
  commands: {
    async place({ customerId, country, lines }, { tx, call, emit, fail }) {
      const priced = priceLines(lines, await call(catalog.many, { skus: skusOf(lines) }));
      if (!priced.ok) return fail('UnknownProduct', { skus: [...priced.unknown] });
      const { pence } = priced;
      const { id: orderId } = await tx.one<{ id: number }>(
        insertOrder({ customerId, country, pence, lines: priced.lines }),
      );
      emit(orders.placed, { orderId, customerId, country, pence, lines });
      return { orderId, pence };
    },
    async returnItems({ returnId, customerId, lines }, { tx, call, enqueue, fail }) {
      const priced = priceLines(lines, await call(catalog.many, { skus: skusOf(lines) }));
      if (!priced.ok) return fail('UnknownProduct', { skus: [...priced.unknown] });
      const { pence } = priced;
      const isNew = await tx.maybeOne(insertReturn({ returnId, customerId, pence, lines: priced.lines }));
      if (isNew === undefined) {
        return tx.one<{ returnId: string; pence: number }>(
          sql`select id as "returnId", pence from orders.returns where id = ${returnId}`,
        );
      }
      enqueue(payments.refund, { refundId: returnId, pence });
      return { returnId, pence };
    },
  },
  queries: {
    byCustomer: ({ customerId, limit }, { db }) => readByCustomer(db, customerId, limit),
    byId: ({ orderId }, { db }) => readById(db, orderId),
  },
  on: (on) => [
    on(orders.placed, { name: 'reserve' }, async ({ lines, ...facts }, { tx, call, emit }) => {
      const { orderId } = facts;
      const reserved = await call(inventory.reserve, { orderId, lines });
      if (reserved.ok) {
        if (await moveOrder(tx, orderId, { from: 'placed', to: 'reserved' })) emit(orders.reserved, facts);
      } else if (await moveOrder(tx, orderId, { from: 'placed', to: 'rejected' })) {
        emit(orders.rejected, { ...facts, missing: reserved.data.missing });
      }
    }),
    on(orders.reserved, { name: 'charge' }, async (facts, { tx, call, emit }) => {
      const { orderId, pence } = facts;
      const charged = await call(payments.charge, { orderId, pence });
      if (charged.ok) {
        if (await moveOrder(tx, orderId, { from: 'reserved', to: 'paid' })) emit(orders.paid, facts);
        return;
      }
      await call(inventory.release, { orderId });
      if (await moveOrder(tx, orderId, { from: 'reserved', to: 'declined' }))
        emit(orders.declined, { ...facts, reason: charged.data.reason });
    }),
    on(orders.paid, { name: 'ship' }, async (facts, { tx, call, emit }) => {
      const { orderId, country } = facts;
      const { tracking } = await call(shipping.ship, { orderId, country });
      if (await moveOrder(tx, orderId, { from: 'paid', to: 'shipped', tracking }))
        emit(orders.shipped, { ...facts, tracking });
    }),
  ],
});
