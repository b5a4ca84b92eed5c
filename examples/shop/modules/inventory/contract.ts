import { command, contract, event, query } from 'plimsoll';
import { z } from 'zod';

const sku = z.string().min(1).max(20);
/** What changes how many there are. */
export const stockTag = (of: string): string => `stock:${of}`;
const orderId = z.int().positive();

export const inventory = contract('inventory', {
  /** All of the lines or none. Asked again for the same order it changes nothing and answers the same. */
  reserve: command({
    input: z.object({
      orderId,
      lines: z
        .array(z.object({ sku, quantity: z.int().positive() }))
        .min(1)
        .max(1000),
    }),
    errors: { OutOfStock: z.object({ missing: z.array(sku) }) },
  }),
  /** Puts back what is reserved for the order, once. */
  release: command({ input: z.object({ orderId }) }),
  stock: query({
    input: z.object({ sku }),
    output: z.object({ sku, available: z.int() }),
    tags: (of) => [stockTag(of.sku)],
  }),
  /** The stock fell under its reorder point. */
  low: event({ payload: z.object({ sku, available: z.int() }), key: (payload) => payload.sku }),
});
