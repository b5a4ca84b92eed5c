import { z } from 'zod';

/** The same schemas and statements for every subject. */
export const Hello = {
  input: z.object({ name: z.string().min(1) }),
  output: z.object({ hello: z.string() }),
};
const Item = z.object({ id: z.number().int(), name: z.string(), val: z.number().int() });
export const Three = {
  input: z.object({ id: z.coerce.number().int().min(1) }),
  output: z.object({ item: Item, next: Item, sum: z.number().int() }),
};
export const itemText = 'select id, name, val from bench.item where id = $1';
export const sumText = 'select sum(val)::int as sum from bench.item where id between $1 and $1 + 10';

/** Tells the parent where to send requests, and what they have cost when it asks. */
export function ready(origin: string): void {
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send?.(user + system);
  });
  process.on('disconnect', () => process.exit());
  process.send?.(origin);
}

interface Queries {
  query(text: string, values: readonly unknown[]): Promise<{ readonly rows: readonly unknown[] }>;
}

/** The three queries, one after the other, as handlers usually make them. */
export async function three(pool: Queries, id: number): Promise<z.input<typeof Three.output>> {
  const item = await pool.query(itemText, [id]);
  const next = await pool.query(itemText, [id + 1]);
  const sum = await pool.query(sumText, [id]);
  return Three.output.parse({
    item: item.rows[0],
    next: next.rows[0],
    sum: (sum.rows[0] as { readonly sum: number }).sum,
  });
}
