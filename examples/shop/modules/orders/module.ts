import { module, sql } from 'plimsoll';
import { catalog } from '../catalog/contract.ts';
import { inventory } from '../inventory/contract.ts';
import { payments } from '../payments/contract.ts';
import { shipping } from '../shipping/contract.ts';
import { checkout } from './checkout.ts';
import { orders, type Move } from './contract.ts';
import { priceLines, skusOf } from './pricing.ts';
import { takings } from './takings.ts';
import { insertOrder, insertReturn, moveOrder, readByCustomer, readById, type Status } from './statements.ts';

/**
 * An order is placed in one transaction, which starts its checkout; that saga takes it through the other modules and
 * writes each new status by a command of this one.
 *
 *     placed → reserved → paid → shipped
 *        ↓         ↓
 *     rejected  declined
 */
export const ordersModule = module(orders, {
  owns: { schema: 'orders', migrations: new URL('./migrations/', import.meta.url) },
  uses: [catalog, inventory, payments, shipping],
  commands: {
    async place({ customerId, country, deliverTo, lines }, { tx, call, emit, start, fail }) {
      const priced = priceLines(lines, await call(catalog.many, { skus: skusOf(lines) }));
      if (!priced.ok) return fail('UnknownProduct', { skus: [...priced.unknown] });
      const { pence } = priced;
      const { id: orderId } = await tx.one<{ id: number }>(
        insertOrder({ customerId, country, pence, lines: priced.lines }),
      );
      const order = { orderId, customerId, country, pence, lines, deliverTo };
      emit(orders.placed, order);
      start(checkout, order, { id: String(orderId) });
      return { orderId, pence };
    },
    async advance(move, { tx, emit }) {
      const { to, ...event } = move;
      const tracking = move.to === 'shipped' ? { tracking: move.tracking } : {};
      if (await moveOrder(tx, move.orderId, { from: before[to], to, ...tracking }))
        emit(orders[to], event as never);
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
    takings: ({ country }, { db }) =>
      db.query(
        sql`select day, orders, pence from orders.takings where country = ${country} order by day desc`,
      ),
  },
  views: [takings],
  reads: { takings: [takings] },
  sagas: { checkout },
});

/** From where an order may come; a checkout may be stopped at any time before it is shipped. */
const before: Readonly<Record<Move['to'], readonly Status[]>> = {
  reserved: ['placed'],
  paid: ['reserved'],
  shipped: ['paid'],
  rejected: ['placed'],
  declined: ['placed', 'reserved', 'paid'],
};
