import { command, contract } from 'plimsoll';
import { z } from 'zod';

export const shipping = contract('shipping', {
  /** One shipment per order, however often it is asked. */
  ship: command({
    input: z.object({ orderId: z.int().positive(), country: z.string() }),
    output: z.object({ tracking: z.string() }),
  }),
});
