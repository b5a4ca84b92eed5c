import { classify, reasons, type Reason, type Trade } from './classify.ts';
import { readRows } from './rows.ts';

export interface Product {
  readonly sku: string;
  readonly description: string;
  readonly pence: number;
  /** Pieces sold in the week. */
  readonly sold: number;
}

export interface Line {
  readonly sku: string;
  readonly quantity: number;
  readonly pence: number;
}

/** An order, or a return when its number starts with C. */
export interface Invoice {
  readonly number: string;
  readonly at: string;
  /** null: a guest */
  readonly customerId: number | null;
  readonly country: string;
  readonly lines: readonly Line[];
}

/** What the file says, with what is not trade left out and counted. */
export interface RetailWeek {
  readonly rows: number;
  readonly skipped: Readonly<Record<Reason, number>>;
  readonly products: ReadonlyMap<string, Product>;
  /** Country by customer. */
  readonly customers: ReadonlyMap<number, string>;
  /** In the order of time. */
  readonly orders: readonly Invoice[];
  readonly returns: readonly Invoice[];
}

export async function readWeek(): Promise<RetailWeek> {
  const skipped = Object.fromEntries(reasons.map((reason) => [reason, 0])) as Record<Reason, number>;
  const sales: Trade[] = [];
  const returned: Trade[] = [];
  let rows = 0;
  for await (const row of readRows()) {
    rows += 1;
    const classified = classify(row);
    if (classified.kind === 'skipped') skipped[classified.reason] += 1;
    else (classified.kind === 'sale' ? sales : returned).push(classified.trade);
  }
  const customers = new Map<number, string>();
  for (const { customerId, country } of [...returned, ...sales])
    if (customerId !== null) customers.set(customerId, country);
  return {
    rows,
    skipped,
    products: productsOf(sales, returned),
    customers,
    orders: invoicesOf(sales),
    returns: invoicesOf(returned),
  };
}

/** The latest description and price count. A product that only came back has those it came back with. */
function productsOf(sales: readonly Trade[], returned: readonly Trade[]): Map<string, Product> {
  const products = new Map<string, Product>();
  for (const { code: sku, description, pence } of returned)
    products.set(sku, { sku, description, pence, sold: 0 });
  for (const { code: sku, description, pence, quantity } of sales) {
    const sold = (products.get(sku)?.sold ?? 0) + quantity;
    products.set(sku, { sku, description, pence, sold });
  }
  return products;
}

function invoicesOf(trades: readonly Trade[]): Invoice[] {
  const byNumber = Map.groupBy(trades, (trade) => trade.invoice);
  return [...byNumber].flatMap(([number, lines]) => {
    const [first] = lines;
    if (first === undefined) return [];
    const { at, customerId, country } = first;
    const priced = lines.map(({ code: sku, quantity, pence }) => ({ sku, quantity, pence }));
    return [{ number, at, customerId, country, lines: priced }];
  });
}
