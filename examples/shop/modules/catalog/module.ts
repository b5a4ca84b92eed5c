import { module, sql } from 'plimsoll';
import { inventory } from '../inventory/contract.ts';
import { reviews } from '../reviews/contract.ts';
import { catalog, productsTag } from './contract.ts';
import { prefixQuery } from './prefix-query.ts';

interface Product {
  readonly sku: string;
  readonly description: string;
  readonly pence: number;
}

const bySku = (sku: string) => sql`select sku, description, pence from catalog.products where sku = ${sku}`;

export const catalogModule = module(catalog, {
  owns: { schema: 'catalog', migrations: new URL('./migrations/', import.meta.url) },
  uses: [inventory, reviews],
  commands: {
    async upsertMany({ products }, { tx, invalidate }) {
      // By sku, so that two of these at once take their row locks in the same order. The last of a sku counts.
      const latest = [...new Map(products.map((product) => [product.sku, product])).values()];
      await tx.execute(sql`
        insert into catalog.products (sku, description, pence)
        select sku, description, pence
        from jsonb_to_recordset(${sql.json(latest)}) as p (sku text, description text, pence int)
        order by sku
        on conflict (sku) do update set description = excluded.description, pence = excluded.pence`);
      invalidate(productsTag);
    },
  },
  queries: {
    async search({ text, limit }, { db }) {
      const wanted = prefixQuery(text);
      if (wanted === undefined) return [];
      return db.query<Product>(sql`
        select sku, description, pence from catalog.products
        where words @@ to_tsquery('simple', ${wanted}) order by sku limit ${limit}`);
    },
    async product({ sku }, { db }) {
      return (await db.maybeOne<Product>(bySku(sku))) ?? null;
    },
    async many({ skus }, { db }) {
      return db.query<Product>(
        sql`select sku, description, pence from catalog.products where sku = any(${skus})`,
      );
    },
    async page({ sku }, { db, call }) {
      const product = await db.maybeOne<Product>(bySku(sku));
      if (product === undefined) return null;
      const [stock, rating] = await Promise.all([
        call(inventory.stock, { sku }),
        call(reviews.rating, { sku }),
      ]);
      return { ...product, available: stock.available, rating };
    },
  },
});
