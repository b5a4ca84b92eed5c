import { cached, type CachedQuery } from 'plimsoll';
import { catalog } from './modules/catalog/contract.ts';
import { reviews } from './modules/reviews/contract.ts';

/** What is asked most, by far: seven pages for each order. */
export const cachedQueries: readonly CachedQuery[] = [
  // An order of each product on it ends a page, and when the database is away an hour-old one still sells.
  cached(catalog.page, { ttlMs: 300_000, staleIfErrorMs: 3_600_000 }),
  cached(reviews.rating, { ttlMs: 300_000 }),
];
