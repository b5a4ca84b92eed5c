import { sql } from 'plimsoll';
import type { Queryable, Sql, Transaction } from 'plimsoll/database';
import type { PricedLine } from './pricing.ts';

export type Status = 'placed' | 'reserved' | 'paid' | 'shipped' | 'rejected' | 'declined';

const rowsOf = (lines: readonly PricedLine[]): Sql =>
  sql`jsonb_to_recordset(${sql.json(lines.map((line, index) => ({ line: index + 1, ...line })))})
      as priced (line int, sku text, quantity int, pence int)`;

export interface NewOrder {
  readonly customerId: number | null;
  readonly country: string;
  readonly pence: number;
  readonly lines: readonly PricedLine[];
}

/** The order, its lines and, with their first order, the customer, in one statement. */
export const insertOrder = ({ customerId, country, pence, lines }: NewOrder): Sql => sql`
  with customer as (
    insert into orders.customers (id, country)
    select ${customerId}::bigint, ${country} where ${customerId}::bigint is not null
    on conflict do nothing
  ),
  placed as (
    insert into orders.orders (customer_id, country, status, pence)
    values (${customerId}, ${country}, 'placed', ${pence}) returning id
  ),
  listed as (
    insert into orders.lines (order_id, line, sku, quantity, pence)
    select placed.id, line, sku, quantity, pence from placed, ${rowsOf(lines)}
  )
  select id from placed`;

export interface NewReturn {
  readonly returnId: string;
  readonly customerId: number | null;
  readonly pence: number;
  readonly lines: readonly PricedLine[];
}

/** No row when the return is already there. */
export const insertReturn = ({ returnId, customerId, pence, lines }: NewReturn): Sql => sql`
  with returned as (
    insert into orders.returns (id, customer_id, pence) values (${returnId}, ${customerId}, ${pence})
    on conflict do nothing returning id
  ),
  listed as (
    insert into orders.return_lines (return_id, line, sku, quantity, pence)
    select returned.id, line, sku, quantity, pence from returned, ${rowsOf(lines)}
  )
  select id from returned`;

/** False when the order is not in `from` any more: it has been moved on. */
export async function moveOrder(
  tx: Transaction,
  orderId: number,
  move: { readonly from: readonly Status[]; readonly to: Status; readonly tracking?: string },
): Promise<boolean> {
  const moved = await tx.execute(sql`
    update orders.orders set status = ${move.to}, tracking = coalesce(${move.tracking ?? null}, tracking)
    where id = ${orderId} and status = any(${move.from})`);
  return moved === 1;
}

interface Summary {
  readonly orderId: number;
  readonly status: Status;
  readonly placedAt: string;
  readonly pence: number;
}

interface Order extends Summary {
  readonly customerId: number | null;
  readonly country: string;
  readonly tracking: string | null;
  readonly lines: PricedLine[];
}

type RowOf<T extends Summary> = Omit<T, 'placedAt'> & { readonly placedAt: Date };

const summaryColumns = sql`id as "orderId", status, placed_at as "placedAt", pence`;

export async function readByCustomer(db: Queryable, customerId: number, limit: number): Promise<Summary[]> {
  const rows = await db.query<RowOf<Summary>>(sql`
    select ${summaryColumns} from orders.orders where customer_id = ${customerId}
    order by placed_at desc, id desc limit ${limit}`);
  return rows.map((row) => ({ ...row, placedAt: row.placedAt.toISOString() }));
}

export async function readById(db: Queryable, orderId: number): Promise<Order | null> {
  const row = await db.maybeOne<RowOf<Order>>(sql`
    select ${summaryColumns}, customer_id as "customerId", country, tracking, (
      select json_agg(json_build_object('sku', sku, 'quantity', quantity, 'pence', pence) order by line)
      from orders.lines where order_id = orders.id
    ) as lines
    from orders.orders where id = ${orderId}`);
  return row === undefined ? null : { ...row, placedAt: row.placedAt.toISOString() };
}
