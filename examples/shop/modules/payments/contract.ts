import { command, contract } from 'plimsoll';
import { z } from 'zod';

const pence = z.int().nonnegative();
const receipt = z.object({ bankId: z.string() });

export const payments = contract('payments', {
  /** Charges an order once, however often it is asked. */
  charge: command({
    input: z.object({ orderId: z.int().positive(), pence }),
    output: receipt,
    errors: { Declined: z.object({ reason: z.string() }) },
  }),
  /** Refunds once per `refundId`. */
  refund: command({ input: z.object({ refundId: z.string().min(1).max(64), pence }), output: receipt }),
});
