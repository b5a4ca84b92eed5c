import { objective, plan, route } from 'plimsoll';
import { payments } from '../modules/payments/contract.ts';
import shop from '../plimsoll.plan.ts';

/** The shop with a till: a payment that is answered when the bank has answered. */
export default plan({
  ...shop,
  http: {
    ...shop.http,
    routes: [...shop.http.routes, route('/payments', payments.charge, { errors: { Declined: 402 } })],
  },
  objectives: {
    ...shop.objectives,
    operations: [
      ...(shop.objectives.operations ?? []),
      objective(payments.charge, { p95Ms: 1_000, errorRate: 0.001 }),
    ],
  },
});
