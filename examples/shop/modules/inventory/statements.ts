import { sql } from 'plimsoll';
import type { Sql } from 'plimsoll/database';

export interface Line {
  readonly sku: string;
  readonly quantity: number;
}

const rowsOf = (lines: readonly Line[]): Sql =>
  sql`jsonb_to_recordset(${sql.json(lines)}) as wanted (sku text, quantity int)`;

/**
 * Locks the stock of all lines in the order of their sku, so that baskets which overlap wait for each other
 * and never deadlock, and gives the first skus of which there is too little.
 */
export const findMissing = (lines: readonly Line[]): Sql => sql`
  with locked as materialized (
    select sku, available from inventory.stock
    where sku = any(${lines.map(({ sku }) => sku)}) order by sku for update
  )
  select wanted.sku from ${rowsOf(lines)} left join locked using (sku)
  where coalesce(locked.available, 0) < wanted.quantity
  order by wanted.sku limit 10`;

/** Takes the lines from the locked stock and gives what thereby fell under its reorder point. */
export const take = (orderId: number, lines: readonly Line[]): Sql => sql`
  with wanted as materialized (select sku, quantity from ${rowsOf(lines)}),
  kept as (
    insert into inventory.reservation_lines (order_id, sku, quantity)
    select ${orderId}::bigint, sku, quantity from wanted
  ),
  taken as (
    update inventory.stock set available = stock.available - wanted.quantity
    from wanted where stock.sku = wanted.sku
    returning stock.sku, stock.available, stock.reorder_point, wanted.quantity
  )
  select sku, available from taken
  where available < reorder_point and available + quantity >= reorder_point
  order by sku`;

export const lockReserved = (orderId: number): Sql => sql`
  select from inventory.stock
  where sku in (select sku from inventory.reservation_lines where order_id = ${orderId})
  order by sku for update`;

/** Gives the skus of what it has put back. */
export const putBack = (orderId: number): Sql => sql`
  update inventory.stock set available = stock.available + line.quantity
  from inventory.reservation_lines line
  where line.order_id = ${orderId} and stock.sku = line.sku
  returning stock.sku`;
