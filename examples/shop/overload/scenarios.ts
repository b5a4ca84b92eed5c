import type { PlannedRequest, Scenario } from '@plimsoll/cli/load';
import { payments } from '../modules/payments/contract.ts';

// Of no order that the shop knows, and each one its own charge. Never used twice in a run.
let nextOrderId = 500_000_000;

function payment(): PlannedRequest {
  nextOrderId += 1;
  return {
    operation: payments.charge.id,
    method: 'POST',
    path: '/payments',
    body: JSON.stringify({ orderId: nextOrderId, pence: 1_250 }),
    afterMs: 0,
    // One charge in a hundred is declined.
    accepts: [402],
  };
}

export const paymentsOnly: Scenario = {
  name: 'payments',
  requestsPerSession: 1,
  session: () => [payment()],
};

/** Visits, and for each so many payments at the till. */
export function withPayments(scenario: Scenario, perVisit: number): Scenario {
  return {
    ...scenario,
    name: `${scenario.name}, with payments`,
    requestsPerSession: scenario.requestsPerSession + perVisit,
    session: (index, random) => [
      ...scenario.session(index, random),
      ...Array.from({ length: perVisit }, () => ({ ...payment(), afterMs: 2_000 * random() })),
    ],
  };
}
