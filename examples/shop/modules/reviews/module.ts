import { module, sql } from 'plimsoll';
import { ratingTag, reviews } from './contract.ts';

export const reviewsModule = module(reviews, {
  owns: { schema: 'reviews', migrations: new URL('./migrations/', import.meta.url) },
  commands: {
    async write({ sku, customerId, stars, text }, { tx, invalidate }) {
      // Takes the lock on the product's rating first: the next statement then sees every earlier review.
      await tx.execute(sql`
        insert into reviews.ratings as rating (sku, count, stars) values (${sku}, 0, 0)
        on conflict (sku) do update set count = rating.count`);
      await tx.execute(sql`
        with before as (
          select stars from reviews.reviews where sku = ${sku} and customer_id = ${customerId}
        ),
        written as (
          insert into reviews.reviews (sku, customer_id, stars, text)
          values (${sku}, ${customerId}, ${stars}, ${text})
          on conflict (sku, customer_id)
          do update set stars = excluded.stars, text = excluded.text, written_at = excluded.written_at
        )
        update reviews.ratings
        set count = count + 1 - (select count(*) from before)::int,
            stars = stars + ${stars} - (select coalesce(sum(stars), 0) from before)::int
        where sku = ${sku}`);
      invalidate(ratingTag(sku));
    },
  },
  queries: {
    async rating({ sku }, { db }) {
      const row = await db.maybeOne<{ count: number; stars: number }>(
        sql`select count, stars from reviews.ratings where sku = ${sku}`,
      );
      return row === undefined || row.count === 0
        ? { count: 0, average: null }
        : { count: row.count, average: row.stars / row.count };
    },
  },
});
