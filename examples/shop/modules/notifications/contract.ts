import { command, contract } from 'plimsoll';
import { z } from 'zod';
import { personOf } from '../orders/contract.ts';

export const notifications = contract('notifications', {
  /** Sends one mail about an order; meant to be run as a job. */
  send: command({
    input: z.object({
      orderId: z.int().positive(),
      customerId: z.int().positive().nullable(),
      about: z.enum(['placed', 'shipped']),
      text: z.string().max(500),
    }),
    // Whether a customer was told is asked later.
    job: { keepResult: true },
    personal: { subject: personOf, erase: (mail) => ({ ...mail, text: `Your order ${mail.orderId}.` }) },
  }),
});
