import { command, contract, query } from 'plimsoll';
import { z } from 'zod';
import { stockTag } from '../inventory/contract.ts';
import { ratingTag } from '../reviews/contract.ts';

const sku = z.string().min(1).max(20);
const product = z.object({ sku, description: z.string().min(1).max(200), pence: z.int().nonnegative() });

/** What changes any product: they come as one list from the supplier. */
export const productsTag = 'products';

export const catalog = contract('catalog', {
  /** Products whose description or number has words that begin with each word of `text`. */
  search: query({
    input: z.object({
      text: z.string().trim().min(2).max(100),
      limit: z.coerce.number().int().min(1).max(50).default(20),
    }),
    output: z.array(product),
  }),
  product: query({ input: z.object({ sku }), output: product.nullable() }),
  /** Those of the skus that exist. */
  many: query({ input: z.object({ skus: z.array(sku).max(1000) }), output: z.array(product) }),
  /** What a product page shows. */
  page: query({
    input: z.object({ sku }),
    output: product
      .extend({
        available: z.int(),
        rating: z.object({ count: z.int(), average: z.number().nullable() }),
      })
      .nullable(),
    tags: (of) => [productsTag, stockTag(of.sku), ratingTag(of.sku)],
  }),
  upsertMany: command({ input: z.object({ products: z.array(product).min(1).max(5000) }) }),
});
