import { catalog } from './modules/catalog/contract.ts';
import { inventory } from './modules/inventory/contract.ts';
import { loyalty } from './modules/loyalty/contract.ts';
import { orders } from './modules/orders/contract.ts';
import { reviews } from './modules/reviews/contract.ts';

/** The shop's public face. A query is GET, a command POST; a declared error is 422. */
export const routes = [
  { path: '/products', operation: catalog.search },
  // A CDN keeps it for a minute: nobody purges one here, so that is how old it may be there.
  { path: '/products/:sku', operation: catalog.page, cache: { ttlMs: 60_000, staleIfErrorMs: 3_600_000 } },
  { path: '/products/:sku/summary', operation: catalog.product },
  { path: '/products/:sku/stock', operation: inventory.stock },
  { path: '/products/:sku/rating', operation: reviews.rating },
  { path: '/products/:sku/reviews', operation: reviews.write },
  { path: '/orders', operation: orders.place, status: 201 },
  { path: '/orders/:orderId', operation: orders.byId },
  { path: '/returns', operation: orders.returnItems, status: 201 },
  { path: '/customers/:customerId/orders', operation: orders.byCustomer },
  { path: '/customers/:customerId/standing', operation: loyalty.standing },
] as const;
