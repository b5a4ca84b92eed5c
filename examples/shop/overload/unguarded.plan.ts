import { plan } from 'plimsoll';
import shop from './plimsoll.plan.ts';

/** As `plimsoll.plan.ts`, with nothing that refuses. */
export default plan({
  ...shop,
  http: { ...shop.http, shed: false, maxInFlight: 1_000_000 },
  policies: { ...shop.policies, modules: false },
});
