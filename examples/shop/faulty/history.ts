import { sql } from 'plimsoll';
import type { Database, Transaction } from 'plimsoll/database';

/** The imported week as if it had been traded in each week before, for about ten years. */
export const weeksOfHistory = 500;

/** Generated orders have ids from here on; those of the shop begin at a million. */
const firstId = 100_000_000;

export interface HistoryReport {
  readonly orders: number;
  readonly lines: number;
}

/**
 * What makes the second fault hurt: a table of a size at which an index matters, and the index gone. Each
 * order of the imported week is repeated once for each week, with its first two lines, which make its total.
 * The orders stay when they are there; the index of an earlier run's fix goes.
 */
export async function makeFaulty(database: Database): Promise<HistoryReport> {
  return database.transaction(async (tx) => {
    await dropIndexesByCustomer(tx);
    const { there } = await tx.one<{ there: boolean }>(
      sql`select exists (select from orders.orders where id >= ${firstId}) as there`,
    );
    if (!there) {
      await tx.execute(sql`
        insert into orders.orders (id, customer_id, country, status, pence, placed_at)
        select ${firstId}::bigint + week * 1000 + number, customer_id, country, 'shipped', coalesce(total, 0),
          placed_at - week * interval '7 days'
        from (
          select *, row_number() over (order by id) as number,
            (select sum(quantity * pence) from orders.lines where order_id = o.id and line <= 2) as total
          from orders.orders o where id < 1000000
        ) imported, generate_series(1, ${weeksOfHistory}::int) as week`);
      await tx.execute(sql`
        insert into orders.lines (order_id, line, sku, quantity, pence)
        select ${firstId}::bigint + week * 1000 + number, line, sku, quantity, pence
        from (
          select l.*, dense_rank() over (order by order_id) as number
          from orders.lines l where order_id < 1000000
        ) imported, generate_series(1, ${weeksOfHistory}::int) as week
        where line <= 2`);
      await tx.execute(sql`analyze orders.orders, orders.lines`);
    }
    return tx.one<HistoryReport>(sql`
      select (select count(*) from orders.orders where id >= ${firstId})::int as orders,
        (select count(*) from orders.lines where order_id >= ${firstId})::int as lines`);
  });
}

/** The shop's own, and whichever an earlier run has made as the doctor said, under whatever name. */
async function dropIndexesByCustomer(tx: Transaction): Promise<void> {
  const indexes = await tx.query<{ name: string }>(sql`
    select c.relname as name from pg_index i join pg_class c on c.oid = i.indexrelid
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = 'orders.orders'::regclass and a.attname = 'customer_id'`);
  for (const { name } of indexes) await tx.execute(sql`drop index ${sql.id('orders', name)}`);
}
