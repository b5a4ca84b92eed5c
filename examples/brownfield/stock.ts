// Old code that has moved into a module: what was a statement in a route is a command that owns its table.
import { command, contract, module, sql } from 'plimsoll';
import { z } from 'zod';

const product = z.object({ id: z.number(), name: z.string(), price: z.number(), stock: z.number() });

export const stock = contract('stock', {
  set: command({
    input: z.object({ id: z.coerce.number(), stock: z.number() }),
    output: product,
    errors: { NoSuchProduct: z.object({}) },
  }),
});

// #region tables
export const stockModule = module(stock, {
  owns: { tables: ['public.products'] }, // a table that was there before; new ones get a schema of their own
  commands: {
    async set({ id, stock: left }, { tx, fail }) {
      const changed = await tx.maybeOne<z.infer<typeof product>>(
        sql`update public.products set stock = ${left} where id = ${id} returning *`,
      );
      return changed ?? fail('NoSuchProduct', {});
    },
  },
});
// #endregion
