import { command, contract } from 'plimsoll';
import { z } from 'zod';

export const shipping = contract('shipping', {
  /** One shipment per order, however often it is asked. */
  ship: command({
    // `deliverTo` is for the label and kept nowhere.
    input: z.object({
      orderId: z.int().positive(),
      country: z.string(),
      deliverTo: z.string().optional(),
    }),
    output: z.object({ tracking: z.string() }),
  }),
});
