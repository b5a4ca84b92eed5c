import { saga } from 'plimsoll';
import { inventory } from '../inventory/contract.ts';
import { payments } from '../payments/contract.ts';
import { shipping } from '../shipping/contract.ts';
import { orders, personOf, placedOrder } from './contract.ts';

/**
 * Takes an order through the other modules. What was done before it fails, or is stopped, is undone: the charge is
 * refunded, the goods go back, the order is declined.
 */
export const checkout = saga(
  {
    version: 1,
    input: placedOrder,
    uses: [orders, inventory, payments, shipping],
    personal: { subject: personOf },
  },
  async (run, { lines, deliverTo, ...facts }) => {
    const { orderId, country, pence } = facts;
    const reserved = await run.step(
      'reserve',
      inventory.reserve,
      { orderId, lines },
      {
        compensate: () => [inventory.release, { orderId }],
      },
    );
    if (!reserved.ok) {
      await run.step('reject', orders.advance, { ...facts, to: 'rejected', missing: reserved.data.missing });
      throw run.fail('OutOfStock', reserved.data);
    }
    await run.step(
      'reserved',
      orders.advance,
      { ...facts, to: 'reserved' },
      {
        compensate: () => [orders.advance, { ...facts, to: 'declined' as const, reason: 'stopped' }],
      },
    );
    const charged = await run.step(
      'charge',
      payments.charge,
      { orderId, pence },
      {
        compensate: () => [payments.refund, { refundId: `order-${orderId}`, pence }],
      },
    );
    if (!charged.ok) {
      await run.step('decline', orders.advance, { ...facts, to: 'declined', reason: charged.data.reason });
      throw run.fail('Declined', charged.data);
    }
    await run.step('paid', orders.advance, { ...facts, to: 'paid' });
    const { tracking } = await run.step('ship', shipping.ship, { orderId, country, deliverTo });
    await run.step('shipped', orders.advance, { ...facts, to: 'shipped', tracking });
    return { tracking };
  },
);
