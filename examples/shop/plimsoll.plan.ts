import { objective, plan, route } from 'plimsoll';
import { cachedQueries } from './cached-queries.ts';
import { readShopEnvironment } from './env.ts';
import { faultyOrdersModule } from './faulty/orders-module.ts';
import { shopModules } from './modules.ts';
import { orders } from './modules/orders/contract.ts';
import { reviews } from './modules/reviews/contract.ts';
import { connectOutside } from './outside.ts';
import { routes } from './routes.ts';

const { BANK_URL, SMTP_URL, PORT, SHOP_CACHE } = readShopEnvironment(process.env);

const outside = connectOutside({ bankUrl: BANK_URL, smtpUrl: SMTP_URL });
const modules = shopModules(outside);

/** The shop in one process, on one primary and one replica. */
export default plan({
  name: 'shop',
  // With SHOP_FAULTY=1 the list of a customer's orders is written badly on purpose: something for the doctor.
  modules:
    process.env['SHOP_FAULTY'] === '1'
      ? modules.map((module) => (module.name === faultyOrdersModule.name ? faultyOrdersModule : module))
      : modules,
  http: {
    port: PORT,
    routes: routes.map(({ path, operation, ...options }) => route(path, operation, options)),
  },
  // Twice the cores of a small machine: more connections only make the servers switch between them.
  database: { embeddedReplicas: 1, pool: { max: 4 } },
  ...(SHOP_CACHE === 'on' ? { cache: { queries: cachedQueries } } : {}),
  policies: { outgoing: [outside.bank, outside.mailer.policy] },
  // A sale day, assumed: the week in `data` has an order a minute at its busiest, and each comes with ten reads.
  expectedPeak: { requestsPerSecond: 200 },
  objectives: {
    // What a customer waits for while browsing.
    default: { p95Ms: 50, errorRate: 0.001 },
    operations: [
      // Up to several hundred lines in one transaction.
      objective(orders.place, { p95Ms: 250, errorRate: 0.001 }),
      objective(orders.returnItems, { p95Ms: 250, errorRate: 0.001 }),
      objective(reviews.write, { p95Ms: 100, errorRate: 0.001 }),
    ],
  },
});
