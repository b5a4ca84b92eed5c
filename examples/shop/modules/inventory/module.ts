import { module, sql } from 'plimsoll';
import { inventory, stockTag } from './contract.ts';
import { findMissing, lockReserved, putBack, take, type Line } from './statements.ts';

export const inventoryModule = module(inventory, {
  owns: { schema: 'inventory', migrations: new URL('./migrations/', import.meta.url) },
  commands: {
    async reserve({ orderId, lines }, { tx, emit, invalidate, fail }) {
      // A second ask for the same order waits here for the first one and then finds its reservation.
      const isNew = await tx.execute(
        sql`insert into inventory.reservations (order_id) values (${orderId}) on conflict do nothing`,
      );
      if (isNew === 0) return undefined;
      const wanted = sumBySku(lines);
      const missing = await tx.query<{ sku: string }>(findMissing(wanted));
      if (missing.length > 0) return fail('OutOfStock', { missing: missing.map(({ sku }) => sku) });
      for (const low of await tx.query<{ sku: string; available: number }>(take(orderId, wanted)))
        emit(inventory.low, low);
      invalidate(...wanted.map(({ sku }) => stockTag(sku)));
      return undefined;
    },
    async release({ orderId }, { tx, invalidate }) {
      const released = await tx.execute(sql`
        update inventory.reservations set released_at = now()
        where order_id = ${orderId} and released_at is null`);
      if (released === 0) return;
      await tx.query(lockReserved(orderId));
      const back = await tx.query<{ sku: string }>(putBack(orderId));
      invalidate(...back.map(({ sku }) => stockTag(sku)));
    },
  },
  queries: {
    async stock({ sku }, { db }) {
      const row = await db.maybeOne<{ available: number }>(
        sql`select available from inventory.stock where sku = ${sku}`,
      );
      return { sku, available: row?.available ?? 0 };
    },
  },
  on: (on) => [
    on(inventory.low, { name: 'reorder' }, async ({ sku }, { tx, invalidate }) => {
      // The supplier of this shop delivers at once.
      await tx.execute(sql`
        update inventory.stock set available = available + reorder_quantity
        where sku = ${sku} and available < reorder_point`);
      invalidate(stockTag(sku));
    }),
  ],
});

/** A basket may name a product more than once. */
function sumBySku(lines: readonly Line[]): Line[] {
  const quantities = new Map<string, number>();
  for (const { sku, quantity } of lines) quantities.set(sku, (quantities.get(sku) ?? 0) + quantity);
  return [...quantities].map(([sku, quantity]) => ({ sku, quantity }));
}
