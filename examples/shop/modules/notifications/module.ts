import { module, sql, type Module } from 'plimsoll';
import { orders } from '../orders/contract.ts';
import { notifications } from './contract.ts';
import type { Mailer } from './mailer.ts';

/** Mails are jobs, so a mail server that is slow or down delays mails and nothing else. */
export function notificationsModule({ mailer }: { readonly mailer: Mailer }): Module {
  return module(notifications, {
    owns: { schema: 'notifications', migrations: new URL('./migrations/', import.meta.url) },
    uses: [orders],
    commands: {
      async send({ orderId, customerId, about, text }, { tx }) {
        const messageId = `<order-${orderId}.${about}@shop.example>`;
        // The shop keeps no addresses; a guest has none but the order's.
        const mailbox = customerId === null ? `guest-${orderId}` : `customer-${customerId}`;
        const subject = `Your order ${orderId} is ${about}`;
        // Before the transaction, so that no connection is held while the mail server answers.
        await mailer.send({ to: `${mailbox}@mail.example`, subject, text, messageId });
        await tx.execute(sql`
          insert into notifications.sent (message_id) values (${messageId}) on conflict do nothing`);
      },
    },
    on: (on) => [
      on(
        orders.placed,
        { name: 'thank' },
        async ({ orderId, customerId, pence, lines, deliverTo }, { enqueue }) => {
          const to = deliverTo === undefined ? '' : `, which goes to ${deliverTo}`;
          const text = `Thank you for your order of ${lines.length} lines, £${(pence / 100).toFixed(2)}${to}.`;
          enqueue(notifications.send, { orderId, customerId, about: 'placed', text });
        },
      ),
      on(orders.shipped, { name: 'announce' }, async ({ orderId, customerId, tracking }, { enqueue }) => {
        const text = `Your order is on its way. Tracking number: ${tracking}.`;
        enqueue(notifications.send, { orderId, customerId, about: 'shipped', text });
      }),
    ],
  });
}
