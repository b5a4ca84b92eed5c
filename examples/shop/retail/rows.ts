import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { parse } from 'csv-parse';
import { z } from 'zod';

/** One line of the file, its values read and nothing judged. */
const rowSchema = z
  .object({
    InvoiceNo: z.string().min(1),
    StockCode: z.string().min(1),
    Description: z.string(),
    Quantity: z.coerce.number().int(),
    InvoiceDate: z.string().regex(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/),
    UnitPrice: z.coerce.number(),
    CustomerID: z.union([z.literal('').transform(() => null), z.coerce.number().int().positive()]),
    Country: z.string().min(1),
  })
  .transform((row) => ({
    invoice: row.InvoiceNo,
    // The same product is written in both cases: 85123A and 85123a.
    code: row.StockCode.trim().toUpperCase(),
    description: row.Description.trim(),
    quantity: row.Quantity,
    /** The file names no time zone; taken as UTC. */
    at: `${row.InvoiceDate.replace(' ', 'T')}Z`,
    pence: Math.round(row.UnitPrice * 100),
    customerId: row.CustomerID,
    country: row.Country,
  }));

export type RetailRow = z.output<typeof rowSchema>;

const file = new URL('../data/online-retail-week.csv.gz', import.meta.url);

/** The rows of the file in its order, which is that of time. Throws with the line number where one is unreadable. */
export async function* readRows(): AsyncGenerator<RetailRow, void> {
  const parser = parse({ columns: true, bom: true });
  const source = createReadStream(file);
  const unzipped = source.pipe(createGunzip());
  source.on('error', (error) => parser.destroy(error));
  unzipped.on('error', (error) => parser.destroy(error));
  let line = 1;
  for await (const record of unzipped.pipe(parser)) {
    line += 1;
    const row = rowSchema.safeParse(record);
    if (!row.success) throw new Error(`${file.pathname}, line ${line}: ${z.prettifyError(row.error)}`);
    yield row.data;
  }
}
