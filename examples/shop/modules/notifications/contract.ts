import { command, contract } from 'plimsoll';
import { z } from 'zod';

export const notifications = contract('notifications', {
  /** Sends one mail about an order; meant to be run as a job. */
  send: command({
    input: z.object({
      orderId: z.int().positive(),
      customerId: z.int().positive().nullable(),
      about: z.enum(['placed', 'shipped']),
      text: z.string().max(500),
    }),
  }),
});
