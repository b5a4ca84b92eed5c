import { contract, query } from 'plimsoll';
import { z } from 'zod';

export const loyalty = contract('loyalty', {
  /** What a customer has paid so far, and a point for each whole pound of it. */
  standing: query({
    input: z.object({ customerId: z.coerce.number().int().positive() }),
    output: z.object({ customerId: z.int(), spentPence: z.int(), points: z.int() }),
  }),
});
