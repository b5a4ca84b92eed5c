import { sql } from 'plimsoll';
import type { Database, Sql, Transaction } from 'plimsoll/database';
import type { Reason } from './classify.ts';
import { readWeek, type Invoice, type RetailWeek } from './week.ts';

export interface ImportReport {
  /** An earlier start has imported it; the numbers are those of then. */
  readonly alreadyDone: boolean;
  /** Rows of the file: sold, returned and skipped add up to it. */
  readonly rows: number;
  readonly sold: number;
  readonly returned: number;
  readonly skipped: Readonly<Record<Reason, number>>;
  readonly products: number;
  readonly customers: number;
  readonly orders: number;
  readonly returns: number;
}

type Counts = Omit<ImportReport, 'alreadyDone'>;

/**
 * Fills an empty shop with the week of real trade. Like a migration it writes the tables of several modules
 * directly. Everything is one transaction, so an import that was cut off has left nothing behind, and of two
 * at once the second waits and then finds it done.
 */
export async function importRetail(database: Database): Promise<ImportReport> {
  const before = await earlierImport(database);
  if (before !== undefined) return { ...before, alreadyDone: true };
  const week = await readWeek();
  return database.transaction(async (tx) => {
    await tx.query(sql`select pg_advisory_xact_lock(hashtextextended('shop.retail', 0))`);
    const meanwhile = await earlierImport(tx);
    if (meanwhile !== undefined) return { ...meanwhile, alreadyDone: true };
    await writeProducts(tx, week);
    await writeOrders(tx, week);
    await writeReturns(tx, week);
    await tx.execute(sql`analyze`);
    const counts = countsOf(week);
    await tx.execute(sql`create schema if not exists retail`);
    await tx.execute(
      sql`create table retail.imported (counts jsonb not null, at timestamptz not null default now())`,
    );
    await tx.execute(sql`insert into retail.imported (counts) values (${sql.json(counts)})`);
    return { ...counts, alreadyDone: false };
  });
}

async function earlierImport(db: Pick<Database, 'one'>): Promise<Counts | undefined> {
  // The rows of the catalog: `to_regclass` answers from a cache that may not know a commit of a moment ago.
  const { there } = await db.one<{ there: boolean }>(sql`
    select exists (select from pg_tables where schemaname = 'retail' and tablename = 'imported') as there`);
  return there
    ? (await db.one<{ counts: Counts }>(sql`select counts from retail.imported`)).counts
    : undefined;
}

const countLines = (invoices: readonly Invoice[]): number =>
  invoices.reduce((sum, { lines }) => sum + lines.length, 0);

const countsOf = ({ rows, skipped, products, customers, orders, returns }: RetailWeek): Counts => ({
  rows,
  sold: countLines(orders),
  returned: countLines(returns),
  skipped,
  products: products.size,
  customers: customers.size,
  orders: orders.length,
  returns: returns.length,
});

/** One statement for every few thousand rows. */
async function inBatches<T>(rows: readonly T[], write: (rows: Sql) => Promise<unknown>): Promise<void> {
  const size = 5_000;
  for (let start = 0; start < rows.length; start += size)
    await write(sql`jsonb_to_recordset(${sql.json(rows.slice(start, start + size))})`);
}

/** Opening stock is the sales of 200 such weeks and at least 500; a quarter of it is the reorder point. */
const openingStock = (sold: number): number => Math.max(500, 200 * sold);

async function writeProducts(tx: Transaction, { products }: RetailWeek): Promise<void> {
  const rows = [...products.values()].map((product) => ({
    ...product,
    opening: openingStock(product.sold),
  }));
  await inBatches(rows, async (batch) => {
    await tx.execute(sql`
      insert into catalog.products (sku, description, pence)
      select sku, description, pence from ${batch} as r (sku text, description text, pence int)`);
    await tx.execute(sql`
      insert into inventory.stock (sku, available, reorder_point, reorder_quantity)
      select sku, opening, opening / 4, opening from ${batch} as r (sku text, opening int)`);
  });
}

const totalOf = ({ lines }: Invoice): number =>
  lines.reduce((sum, { quantity, pence }) => sum + quantity * pence, 0);

const linesOf = (invoices: readonly Invoice[]): object[] =>
  invoices.flatMap(({ number, lines }) => lines.map((line, index) => ({ ...line, number, line: index + 1 })));

async function writeOrders(tx: Transaction, { customers, orders }: RetailWeek): Promise<void> {
  const known = [...customers].map(([id, country]) => ({ id, country }));
  await inBatches(known, (batch) =>
    tx.execute(sql`
      insert into orders.customers (id, country)
      select id, country from ${batch} as r (id bigint, country text)`),
  );
  // The number of the invoice is the order's.
  await inBatches(
    orders.map((order) => ({ ...order, lines: undefined, pence: totalOf(order) })),
    (batch) =>
      tx.execute(sql`
      insert into orders.orders (id, customer_id, country, status, pence, placed_at)
      select number, "customerId", country, 'shipped', pence, at
      from ${batch} as r (number bigint, "customerId" bigint, country text, pence bigint, at timestamptz)`),
  );
  await inBatches(linesOf(orders), (batch) =>
    tx.execute(sql`
      insert into orders.lines (order_id, line, sku, quantity, pence)
      select number, line, sku, quantity, pence
      from ${batch} as r (number bigint, line int, sku text, quantity int, pence int)`),
  );
  await tx.execute(sql`
    insert into loyalty.standings (customer_id, spent_pence)
    select customer_id, sum(pence) from orders.orders where customer_id is not null group by customer_id`);
}

/** The data does not say to which order a return belongs, and most goods were bought before the week began. */
async function writeReturns(tx: Transaction, { returns }: RetailWeek): Promise<void> {
  await inBatches(
    returns.map((back) => ({ ...back, lines: undefined, pence: totalOf(back) })),
    (batch) =>
      tx.execute(sql`
      insert into orders.returns (id, customer_id, pence, returned_at)
      select number, "customerId", pence, at
      from ${batch} as r (number text, "customerId" bigint, pence bigint, at timestamptz)`),
  );
  await inBatches(linesOf(returns), (batch) =>
    tx.execute(sql`
      insert into orders.return_lines (return_id, line, sku, quantity, pence)
      select number, line, sku, quantity, pence
      from ${batch} as r (number text, line int, sku text, quantity int, pence int)`),
  );
}
