import { command, contract, query } from 'plimsoll';
import { z } from 'zod';

const sku = z.string().min(1).max(20);

/** What changes the rating of a product. */
export const ratingTag = (of: string): string => `rating:${of}`;

export const reviews = contract('reviews', {
  /** A customer has one review of a product; writing again replaces it. */
  write: command({
    input: z.object({
      sku,
      customerId: z.int().positive(),
      stars: z.int().min(1).max(5),
      text: z.string().trim().max(2000),
    }),
  }),
  rating: query({
    input: z.object({ sku }),
    output: z.object({ count: z.int(), average: z.number().nullable() }),
    tags: (of) => [ratingTag(of.sku)],
  }),
});
